"""A rate search walked again over its raw timings: each figure, each verdict and the rate anew.

What a search asks depends on what it saw, what it answers on nothing else: told the recorded
probes with their raw requests, the same code must come to the same words. The figures are equal to
the last bit on the machine that measured; elsewhere another build of the numerical libraries may
round otherwise, which a part in a million allows for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optikit.core.load import Load, plan_load
from optikit.core.metrics import measure
from optikit.core.racing import Raced
from optikit.core.rate import rate_search
from optikit.core.search import ProbeRequest, RateSearch
from optikit.core.timings import Timings
from optikit.spec.base import Spec
from optikit.spec.plan import Plan
from optikit.spec.record import Probe, RateResult, Trial

__all__ = ["Difference", "Walked", "differences", "walk_again"]

SAME = 1e-6
"""Relative difference up to which two figures are one."""
_TINY = 1e-9
_ARRIVALS_S = 2e-6
"""Arrivals are kept in whole microseconds."""
_STOPPED = "; the search stopped: "


@dataclass(frozen=True)
class Difference:
    """A value that is not what was derived."""

    where: str
    """Path of the key, such as ``measurement.quantiles.3.value_ms``."""
    recorded: Any
    derived: Any


@dataclass(frozen=True)
class Walked:
    """What the raw timings say."""

    rate: RateResult
    pruned: bool
    differences: tuple[Difference, ...]


def differences(recorded: Any, derived: Any, where: str = "") -> Iterator[Difference]:
    """Every leaf in which two specs, or what they are made of, differ.

    >>> [d.where for d in differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, "x")]
    ['x.a.1']
    """
    mine = recorded.model_dump(mode="json") if isinstance(recorded, Spec) else recorded
    other = derived.model_dump(mode="json") if isinstance(derived, Spec) else derived
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*mine, *other)):
            yield from differences(mine.get(key), other.get(key), _joined(where, key))
    elif isinstance(mine, list | tuple) and isinstance(other, list | tuple):
        if len(mine) != len(other):
            yield Difference(_joined(where, "length"), len(mine), len(other))
        for index, (one, two) in enumerate(zip(mine, other, strict=False)):
            yield from differences(one, two, _joined(where, index))
    elif not _same(mine, other):
        yield Difference(where, mine, other)


def _joined(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _same(mine: Any, other: Any) -> bool:
    numbers = (int, float)
    plain = not isinstance(mine, bool) and not isinstance(other, bool)
    if plain and isinstance(mine, numbers) and isinstance(other, numbers):
        return math.isclose(mine, other, rel_tol=SAME, abs_tol=_TINY)
    return bool(mine == other)


def walk_again(trial: Trial, timings: Mapping[int, Timings], plan: Plan) -> Walked | None:
    """What a trial's raw timings say of its rate.

    Args:
        timings: of each of its probes, by number.

    Returns:
        None where the trial measured none, or a probe's timings are not there.

    Raises:
        ValueError, ArithmeticError, LookupError: timings with which no search can go on.
    """
    rate = trial.rate
    if rate is None or any(probe.number not in timings for probe in rate.probes):
        return None
    search = _search(trial, rate, plan)
    found: list[Difference] = []
    for probe in rate.probes:
        seen = timings[probe.number]
        again, load = _probe_again(search, probe, seen, plan)
        found += differences(probe, again, f"probe {probe.number}")
        if load.last != seen.last and probe.verdict == "pass":
            what = "those of its seed; only a probe that was stopped because it failed has others"
            found.append(Difference(f"probe {probe.number}.scheduled_s", "others", what))
        search.tell(probe, load, seen)
    stopped = rate.reason.partition(_STOPPED)[2] or None
    derived = search.result(stopped)
    alone = {"probes": ()}
    found += differences(rate.model_copy(update=alone), derived.model_copy(update=alone), "rate")
    lost = isinstance(search, Raced) and search.lost is not None
    return Walked(derived, lost and derived.outcome != "infeasible", tuple(found))


def _search(trial: Trial, rate: RateResult, plan: Plan) -> RateSearch:
    """The search that the trial was measured by; where it began shows in its first open probe."""
    job = plan.job
    opened = [p.rate_rps for p in rate.probes if p.rate_rps is not None and p.rate_rps > 0]
    return rate_search(
        job.method,
        job.workload,
        job.slo,
        start_rps=opened[0] if opened else None,
        max_num_seqs=plan.seats(trial.serving),
        trace=plan.trace,
        certify=trial.purpose != "tune" or job.tuner.finalists == 0,
        must_beat_rps=trial.must_beat_rps,
    )


def _probe_again(search: RateSearch, probe: Probe, seen: Timings, plan: Plan) -> tuple[Probe, Load]:
    """The probe as its timings give it, and the load that was planned for it."""
    load = _load(probe, seen, plan)
    request = ProbeRequest(
        number=probe.number,
        phase=probe.phase,
        requests=seen.last - seen.first,
        seed=probe.seed or 0,
        concurrency=probe.concurrency,
        rate_rps=probe.rate_rps,
    )
    measured = measure(seen, plan.job.slo, probe.rate_rps)
    judgement, measured = search.judge(request, load, seen, measured)
    verdict, reason = judgement.verdict, judgement.reason
    if _was_cut(probe) and measured.failed:
        verdict, reason = probe.verdict, probe.reason  # not the probe's fault: the time was up
    again = {"verdict": verdict, "reason": reason, "measurement": measured}
    return probe.model_copy(update=again), load


def _was_cut(probe: Probe) -> bool:
    cut = probe.reason.startswith("cut after ") and probe.reason.endswith(": time is up")
    return cut and probe.verdict == "inconclusive"


def _load(probe: Probe, seen: Timings, plan: Plan) -> Load:
    """What was sent. Where the arrivals are not those of so many measured requests, more were to be
    measured: the probe was stopped early, and how many there would have been nobody needs."""
    load = plan_load(
        plan.job.workload,
        probe.rate_rps,
        seen.last - seen.first,
        probe.seed or 0,
        before=seen.first,
        after=len(seen) - seen.last,
        trace=plan.trace,
    )
    if probe.rate_rps is None or np.allclose(load.at_s, seen.scheduled_s, rtol=0, atol=_ARRIVALS_S):
        return load
    return replace(load, last=load.last + 1)
