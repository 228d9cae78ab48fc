"""Jobs and results as a notebook shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optikit.reports.words import corner_rows, duration
from optikit.spec._html import facts, table
from optikit.spec.simulated import marked

__all__ = ["job_html", "result_html"]


def job_html(status: Mapping[str, Any]) -> str:
    """Where a job stands.

    Args:
        status: what ``Job.status`` returns.
    """
    stages = [
        {"stage": row["name"], "state": row["state"], "time": duration(row["seconds"])}
        for row in status["stages"]
    ]
    head = facts(
        marked(f"Job {status['id']}", bool(status.get("simulated"))),
        {name: status.get(name) for name in ("state", "verdict", "message") if status.get(name)},
    )
    return head + table(("stage", "state", "time"), stages, "Stages")


def result_html(summary: Mapping[str, Any]) -> str:
    """What came out of a job.

    Args:
        summary: what ``optikit show --json`` prints.
    """
    rows = corner_rows(summary["corners"])
    names = ("state", "verdict", "message", "bundle")
    head = facts(
        marked(f"Result of {summary['id']}", bool(summary.get("simulated"))),
        {name: summary.get(name) for name in names if summary.get(name)},
    )
    return head + (table(tuple(rows[0]), rows, "Four corners") if rows else "")
