"""What a recorded trace cannot tell: said before anybody trusts a rate measured with it."""

from __future__ import annotations

import numpy as np

from optikit.spec.workload import Trace

__all__ = ["trace_warnings"]

_GAP_MEANS, _GAP_SHARE = 100.0, 0.1
"""A silence is named when it is this many mean gaps long, or this share of the whole trace."""
_SAME_SHARE = 0.2
_FEWEST_GAPS = 100
"""Below that many gaps one of them is a tenth of the trace by chance."""


def trace_warnings(trace: Trace, needed: int = 0) -> list[str]:
    """Gaps, requests at one instant, too few requests; empty where there is nothing to say.

    None of it is an error: nights are silent, and clocks of traces are coarse. But a probe
    stretches the trace to another rate, and stretches its silences with it.

    Args:
        needed: requests of one probe.
    """
    found = []
    name, rows = trace.source, len(trace.arrivals_s)
    gaps = np.diff(trace.columns.arrivals_s)
    span, longest = float(gaps.sum()), int(np.argmax(gaps))
    mean = span / len(gaps)
    quiet = gaps > min(_GAP_MEANS * mean, _GAP_SHARE * span)
    if len(gaps) >= _FEWEST_GAPS and quiet.any():
        found.append(
            f"trace {name}: {int(quiet.sum())} gap(s) without arrivals; the longest, "
            f"{gaps[longest]:.4g} s after request {longest + 1}, is {gaps[longest] / mean:.3g} "
            "times the mean gap. A probe that spans it sees a silence, then a burst; cut the trace "
            "to a busy stretch"
        )
    same = int(np.count_nonzero(gaps == 0))
    if same > _SAME_SHARE * len(gaps):
        found.append(
            f"trace {name}: {same} of {rows} requests have the timestamp of the one before (its "
            "clock is coarse); they arrive at one instant when it is replayed"
        )
    if rows < needed:
        found.append(
            f"trace {name}: {rows} requests, but a probe needs {needed}; it goes around its end "
            f"{needed / rows:.3g} times, so its rare requests weigh more than they should"
        )
    return found
