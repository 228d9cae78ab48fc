"""The last comparison: the best few and the default, interleaved on fresh servers; gains with
their intervals.

The best of many noisy trials is partly the luckiest one. So it is measured again, together with
what it is compared to, in rounds: what drifts on the machine then falls on all alike. Only these
runs make the gain. Rates are compared as logarithms, with the variance pooled over all contenders
(one-way analysis of variance): a gain's 95 % interval is the difference of two means plus or minus
Student's t with sum(n - 1) degrees of freedom (Montgomery, Design and Analysis of Experiments,
section 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from scipy.special import stdtrit

from optikit.core.fitness import best
from optikit.spec.base import Spec
from optikit.spec.record import Contender, Trial

__all__ = [
    "Gain",
    "contenders",
    "finalists",
    "gain",
    "mean_rate",
    "rounds",
    "shipped_run",
    "winner",
]


class Gain(Spec):
    """One rate per device over another."""

    value: float
    low: float | None
    """95 % interval; None where nothing was measured twice."""
    high: float | None

    @property
    def tie(self) -> bool | None:
        """Whether 1 lies within the interval; None: there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low <= 1.0 <= self.high


def finalists(trials: Sequence[Trial], count: int) -> list[Trial]:
    """The best ``count`` trials of different configurations, best first."""
    left, found = [t for t in trials if t.rate_rps is not None], list[Trial]()
    while left and len(found) < count:
        top = best(left)
        assert top is not None
        found.append(top)
        left = [t for t in left if t.serving != top.serving]
    return found


def rounds(candidates: Sequence[Trial], runs: int) -> list[tuple[Trial, int]]:
    """Who is measured when: each once a round, every second round in the opposite order."""
    return [
        (trial, number)
        for number in range(runs)
        for trial in (candidates if number % 2 == 0 else list(reversed(candidates)))
    ]


def contenders(trials: Iterable[Trial], defaults: Iterable[Trial]) -> tuple[Contender, ...]:
    """Finalist trials, gathered by the trial that proposed them, in the order of their first run.

    Args:
        trials: of purpose ``finalist``; a failed one counts as a run without a rate.
        defaults: trials of the default configurations.
    """
    known = {trial.id for trial in defaults}
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.of or trial.id, []).append(trial)
    return tuple(
        Contender(
            of=of,
            variant=runs[0].variant,
            default=of in known,
            runs=tuple(run.id for run in runs),
            rates_per_device=tuple(
                None if run.rate_rps is None else run.rate_rps / run.serving.devices for run in runs
            ),
        )
        for of, runs in groups.items()
    )


def mean_rate(contender: Contender) -> float | None:
    """Geometric mean of its rates per device; None where one of its runs held no rate."""
    rates = contender.rates_per_device
    if not rates or any(rate is None or rate <= 0 for rate in rates):
        return None
    return math.exp(sum(math.log(rate) for rate in rates if rate) / len(rates))


def winner(of_variant: Sequence[Contender]) -> Contender | None:
    """The highest mean rate; where no contender held in every run, the one that held most often,
    then at the higher rate. None: none ever did."""

    def rank(contender: Contender) -> tuple[int, float]:
        held = [rate for rate in contender.rates_per_device if rate is not None]
        missed = len(contender.rates_per_device) - len(held)
        return -missed, math.exp(sum(map(math.log, held)) / len(held)) if held else 0.0

    able = [c for c in of_variant if any(rate is not None for rate in c.rates_per_device)]
    return max(able, key=rank, default=None)


def shipped_run(contender: Contender, trials: Iterable[Trial]) -> Trial | None:
    """The run whose certificate ships: the middle one by rate, of two the lower; certified before
    preliminary. None: no run held a rate."""
    held = [t for t in trials if t.id in contender.runs and t.rate is not None and t.rate_rps]
    certified = [t for t in held if t.rate is not None and not t.rate.preliminary]
    ranked = sorted(certified or held, key=lambda t: t.rate_rps or 0.0)
    return ranked[(len(ranked) - 1) // 2] if ranked else None


def gain(all_of_them: Sequence[Contender], of: Contender, over: Contender) -> Gain | None:
    """The one's mean rate over the other's; None where one of them has no mean.

    Args:
        all_of_them: every contender of the comparison: their scatter is pooled.
    """
    mine, other = mean_rate(of), mean_rate(over)
    if mine is None or other is None:
        return None
    value = mine / other
    if of.of == over.of and of.variant == over.variant:
        return Gain(value=1.0, low=1.0, high=1.0)
    scatter, freedom = 0.0, 0
    for contender in all_of_them:
        mean = mean_rate(contender)
        if mean is None:
            continue
        scatter += sum((math.log(r / mean)) ** 2 for r in contender.rates_per_device if r)
        freedom += len(contender.rates_per_device) - 1
    if freedom < 1:
        return Gain(value=value, low=None, high=None)
    error = math.sqrt(
        scatter / freedom * (1 / len(of.rates_per_device) + 1 / len(over.rates_per_device))
    )
    reach = math.exp(float(stdtrit(freedom, 0.975)) * error)
    return Gain(value=value, low=value / reach, high=value * reach)
