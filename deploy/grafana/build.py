"""Writes optikit.json beside it: a Grafana dashboard of the service, from plain dictionaries.

``python deploy/grafana/build.py`` after a change here; ``--check`` says whether it was forgotten.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["FILE", "dashboard", "text"]

FILE = Path(__file__).with_name("optikit.json")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 8, 8
"""Of a panel; Grafana's grid has 24 columns."""

Query = tuple[str, str]
"""An expression, and how its series are called."""


def _of(metric: str, more: str = "") -> str:
    """A metric of the chosen services."""
    return f'{metric}{{instance=~"$instance"{", " if more else ""}{more}}}'


def _rate(metric: str, by: str, more: str = "") -> str:
    """Events an hour, by a label."""
    return f"3600 * sum by ({by}) (rate({_of(metric, more)}[$__rate_interval]))"


def _quantile(q: float, metric: str, by: str) -> str:
    counted = f"sum by ({by}, le) (increase({_of(f'{metric}_bucket')}[$__range]))"
    return f"histogram_quantile({q}, {counted})"


PANELS: Sequence[tuple[str, str, str, Sequence[Query]]] = (
    # title, kind, unit, queries
    ("Service answers", "stat", "bool_on_off", [('min(up{job="optikit"})', "up")]),
    (
        "Since the queue's last turn",
        "stat",
        "s",
        [(f"time() - {_of('optikit_queue_last_turn_timestamp_seconds')}", "{{instance}}")],
    ),
    (
        "Most silent running job",
        "stat",
        "s",
        [(_of("optikit_job_longest_silence_seconds"), "{{instance}}")],
    ),
    (
        "Jobs that have not ended",
        "timeseries",
        "short",
        [(f"sum by (state) ({_of('optikit_jobs')})", "{{state}}")],
    ),
    (
        "Jobs by team",
        "timeseries",
        "short",
        [(f"sum by (team) ({_of('optikit_jobs')})", "{{team}}")],
    ),
    (
        "Jobs that ended, an hour",
        "timeseries",
        "short",
        [(_rate("optikit_jobs_ended_total", "state"), "{{state}}")],
    ),
    (
        "Devices",
        "timeseries",
        "short",
        [
            (f"sum by (kind) ({_of('optikit_devices')})", "{{kind}}: there"),
            (f"sum by (kind) ({_of('optikit_queue_held_devices')})", "{{kind}}: held"),
            (f"sum by (kind) ({_of('optikit_queue_waiting_devices')})", "{{kind}}: waited for"),
        ],
    ),
    (
        "Held by team",
        "timeseries",
        "short",
        [(f"sum by (team, kind) ({_of('optikit_queue_held_devices')})", "{{team}} {{kind}}")],
    ),
    (
        "Oldest wait",
        "timeseries",
        "s",
        [(f"max by (kind) ({_of('optikit_queue_oldest_wait_seconds')})", "{{kind}}")],
    ),
    (
        "Trials an hour",
        "timeseries",
        "short",
        [(_rate("optikit_trials_total", "outcome"), "{{outcome}}")],
    ),
    (
        "Engine start-up",
        "timeseries",
        "s",
        [
            (_quantile(0.5, "optikit_engine_startup_seconds", "engine"), "{{engine}}: half"),
            (_quantile(0.9, "optikit_engine_startup_seconds", "engine"), "{{engine}}: nine in ten"),
        ],
    ),
    (
        "Stages: nine in ten end within",
        "timeseries",
        "s",
        [(_quantile(0.9, "optikit_stage_duration_seconds", "stage"), "{{stage}}")],
    ),
    (
        "What the queue did, an hour",
        "timeseries",
        "short",
        [(_rate("optikit_queue_decisions_total", "decision"), "{{decision}}")],
    ),
    ("Nodes", "timeseries", "short", [(f"sum by (kind) ({_of('optikit_nodes')})", "{{kind}}")]),
    (
        "Memory of the service",
        "timeseries",
        "bytes",
        [(_of("process_resident_memory_bytes"), "{{instance}}")],
    ),
)


def _panel(number: int, title: str, kind: str, unit: str, queries: Sequence[Query]) -> Any:
    row, column = divmod(number, 24 // _WIDTH)
    return {
        "id": number + 1,
        "title": title,
        "type": kind,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for place, (expression, legend) in enumerate(queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource"}
    instance = {
        "name": "instance",
        "label": "Service",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(optikit_build_info, instance)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
    return {
        "uid": "optikit",
        "title": "OptiKIT",
        "tags": ["optikit"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [{**source, "query": "prometheus"}, instance]},
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }


def text() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        same = FILE.exists() and FILE.read_text() == text()
        sys.exit(0 if same else f"{FILE} is not what {__file__} writes; run it again")
    FILE.write_text(text())
