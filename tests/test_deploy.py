"""What lies in deploy/: alert rules that promtool accepts, and a dashboard as it is built."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from optikit.service.base import QueueFacts
from optikit.service.metrics import Metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
HOWTO = DEPLOY.parent / "docs" / "howto" / "watch-it.md"
NAME = re.compile(r"\b(?:optikit|process)_[a-z_]+\b")


def built() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", DEPLOY / "grafana" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def shown() -> set[str]:
    """Every name that a scrape may have."""
    metrics = Metrics()
    metrics.watch(lambda: QueueFacts({}, {}, {}, {}, {}, 0.0, 0.0))
    names = set()
    for line in metrics.text("")[0].decode().splitlines():
        if match := re.match(r"# TYPE (\w+) (\w+)", line):
            names.add(match[1])
            if match[2] == "histogram":
                names |= {f"{match[1]}_{part}" for part in ("bucket", "sum", "count")}
    return names


def test_every_alert_is_tested_and_explained() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    names = {rule["alert"] for rule in rules()}
    assert names == fired
    assert {name for name in names if f"`{name}`" not in HOWTO.read_text()} == set()


def test_the_dashboard_is_what_its_script_writes() -> None:
    module = built()
    assert module.FILE.read_text() == module.text()
    panels = json.loads(module.FILE.read_text())["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels), "none lies on another"


def test_rules_panels_and_document_speak_of_metrics_that_there_are() -> None:
    there = shown()
    used = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    for panel in built().dashboard()["panels"]:
        for target in panel["targets"]:
            used |= set(NAME.findall(target["expr"]))
    assert len(used) > 10
    assert used - there == set()
    table = set(re.findall(r"^\| `(optikit_\w+)`", HOWTO.read_text(), re.MULTILINE))
    mine = {name for name in there if name.startswith("optikit_")}
    parts = ("_bucket", "_sum", "_count", "_created")
    assert table == {name for name in mine if not name.endswith(parts)}
