"""Probes on a terminal, for the verbs that measure and that show certificates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.spec.record import Probe

__all__ = ["max_time", "note", "percent", "probe_load", "progress"]

_PHASES = {
    "warmup": "warm-up",
    "closed": "one by one",
    "scan": "closed loop",
    "open": "offered",
    "certify": "CERTIFY",
}


def max_time(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-time``."""
    parser.add_argument(
        "--max-time", metavar="TIME", help="longest time to measure, such as 90s, 10m or 1h"
    )


def note(text: str) -> None:
    """A line for the person, which no program reads."""
    print(text, file=sys.stderr, flush=True)


def progress(probe: Probe) -> None:
    """One line a probe."""
    facts = probe.model_dump(include={"rate_rps", "concurrency", "phase"})
    load, seen = probe_load(facts), probe.measurement
    why = "" if probe.phase == "warmup" else f"  {probe.verdict}: {probe.reason}"
    note(
        f"{probe.number:3d}  {_PHASES[probe.phase]:<11} {load:>14} {seen.requests:6d} requests{why}"
    )


def probe_load(probe: Mapping[str, Any]) -> str:
    """What a probe put on the server: ``3.2 req/s``, ``16 at once``."""
    if probe["rate_rps"] is not None:
        return f"{probe['rate_rps']:.4g} req/s"
    return f"{probe['concurrency']} at once"


def percent(share: float | None) -> str | None:
    """A share as percent.

    >>> percent(0.0512), percent(None)
    ('5.1 %', None)
    """
    return None if share is None else f"{100 * share:.2g} %"
