"""A real Prometheus scrapes a real service: each metric, alert and panel has its answer."""

from __future__ import annotations

import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.prometheus_server import Prometheus, prometheus_server, promtool
from tests.service_case import SPEC
from tests.services import RunningService, running_service, wait_until
from tests.test_deploy import DEPLOY, built, rules, shown

pytestmark = [
    pytest.mark.integration,
    pytest.mark.beside,
    pytest.mark.timeout(300),
]

SITE = "nodes: [{name: n1, kind: H100, devices: 8}, {name: n2, kind: L40S, devices: 4}]\n"


@dataclass
class Watched:
    service: RunningService
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service that a Prometheus has watched while a simulated job ran."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "site.yaml").write_text(SITE)
    site = ("--site", str(folder / "site.yaml"))
    with running_service(folder / "service", *site) as service:
        target = service.url.removeprefix("http://")
        alerts = DEPLOY / "prometheus" / "alerts.yaml"
        with prometheus_server(folder / "prometheus", target, alerts) as found:
            found.until('up{job="optikit"} == 1')
            job = service.server(None).submit(SPEC, 0, "watched")
            wait_until(job, lambda status: status["exit_code"] is not None)
            found.until('optikit_jobs_ended_total{state="done"} == 1')
            yield Watched(service, found)


def test_each_metric_has_an_answer(watched: Watched) -> None:
    there = {name for name in shown() if name.startswith("optikit_")}
    series = {name for name in there if f"{name}_bucket" not in there}
    assert len(series) > 15
    for name in sorted(series):
        assert watched.prometheus.query(name), name


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('optikit_jobs_ended_total{state="done"}', 1),
        ('sum(optikit_jobs{team="default"})', 0),
        ('optikit_trials_total{outcome="complete"}', 1),
        ('optikit_trials_total{outcome="failed"}', 0),
        ('optikit_stage_duration_seconds_count{stage="benchmark", outcome="done"}', 1),
        ('optikit_engine_startup_seconds_count{engine="simulated"}', 1),
        ('optikit_queue_decisions_total{decision="driver_started"}', 1),
        ('optikit_devices{kind="H100"}', 8),
        ('optikit_nodes{kind="L40S"}', 1),
        ('optikit_queue_held_devices{team="default", kind="H100"}', 0),
        ('optikit_queue_oldest_wait_seconds{kind="H100"}', 0),
    ],
)
def test_its_answer_is_the_truth(watched: Watched, expression: str, expected: float) -> None:
    assert watched.prometheus.until(f"({expression}) == {expected}") == expected


def test_each_alert_is_loaded_sound_and_silent(watched: Watched) -> None:
    (group,) = watched.prometheus.get("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in rules()]
    for rule in group["rules"]:
        assert (rule["health"], rule["state"]) == ("ok", "inactive"), rule


def test_each_panels_query_has_an_answer(watched: Watched) -> None:
    for panel in built().dashboard()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".*")
            expression = expression.replace("$__rate_interval", "1m").replace("$__range", "5m")
            assert "$" not in expression
            assert watched.prometheus.query(expression), panel["title"]
            labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            for series, _ in watched.prometheus.query(expression):
                assert set(labels) <= set(series), panel["title"]


def test_a_page_that_was_told_a_wrong_name_is_refused(watched: Watched) -> None:
    asked = urllib.request.Request(f"{watched.service.url}/metrics", headers={"Host": "evil.test"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(asked, timeout=10)


def test_a_service_that_was_killed_is_down_within_seconds(watched: Watched) -> None:
    """The last test: the service does not come back."""
    watched.service.kill()
    began = time.monotonic()
    watched.prometheus.until('up{job="optikit"} == 0', 20.0)
    assert time.monotonic() - began < 20.0
    watched.prometheus.until('ALERTS{alertname="OptikitServiceDown", alertstate="pending"} == 1')


def test_promtool_accepts_the_rules_and_their_tests() -> None:
    said = promtool("check", "rules", "alerts.yaml", cwd=DEPLOY / "prometheus")
    assert f"SUCCESS: {len(rules())} rules found" in said
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml", cwd=DEPLOY / "prometheus")


def test_the_rules_tests_can_fail(tmp_path: Path) -> None:
    """With every bound out of reach nothing fires, and promtool says so."""
    text = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(text.replace("> 4 * 3600", "> 400 * 3600"))
    shutil.copy(DEPLOY / "prometheus" / "alerts_test.yaml", tmp_path)
    with pytest.raises(AssertionError, match="OptikitJobStuck"):
        promtool("test", "rules", "alerts_test.yaml", cwd=tmp_path)
