"""What the figures of a tuning stage show, in numbers; pure. docs/reference/plots.md.

The trials of a figure are one variant's: the default configuration's, then the search's in the
order in which they ended. The last comparison's runs answer another question and do not count,
except in the corners.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from optikit.core.corners import CORNERS, Corner
from optikit.core.finalists import winner
from optikit.core.fitness import best
from optikit.core.space import point_of
from optikit.spec.record import Contender, Trial, Variant
from optikit.spec.serving import Flag
from optikit.spec.space import Dimension

__all__ = [
    "KINDS",
    "Bar",
    "BestSoFar",
    "FlagAxis",
    "Flags",
    "Importance",
    "Kind",
    "Line",
    "Mark",
    "Share",
    "bars",
    "best_so_far",
    "flags",
    "importance",
    "searched",
    "winner_of",
]

Kind = Literal["default", "held", "not held", "pruned", "failed"]
"""``not held``: it ran to its end and held the SLO at no rate, or nothing could be said."""
KINDS: tuple[Kind, ...] = ("default", "held", "not held", "pruned", "failed")
NOT_SET = "not set"
_NEEDED = 4
"""So many rates at least, or a share of their variance says nothing."""
_NEAR = 0.06
"""Of an axis: labels that are closer than this would overlap."""
_SPREAD = 0.03


@dataclass(frozen=True)
class Mark:
    """One trial, at the device-hours that were spent when it ended."""

    trial: str
    hours: float
    kind: Kind
    rate: float | None
    """Requests/s per device; None where no rate held."""


@dataclass(frozen=True)
class BestSoFar:
    """How a search went on with what it cost."""

    marks: tuple[Mark, ...]
    steps: tuple[tuple[float, float], ...]
    """(device-hours, best rate per device from there on), up to the last trial."""
    predicted: float | None
    """Rate per device of the trial that was expected to be the best; a model's figure."""


@dataclass(frozen=True)
class FlagAxis:
    """One searched flag: labels with their places, 0 at the bottom to 1 at the top."""

    name: str
    ticks: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Line:
    """One trial through all axes."""

    trial: str
    kind: Kind
    rate: float | None
    """Requests/s per device."""
    places: tuple[float, ...]
    """One an axis; those of trials with the same value lie beside each other."""
    won: bool


@dataclass(frozen=True)
class Flags:
    """Parallel coordinates."""

    axes: tuple[FlagAxis, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Share:
    """How much of the rates' variance lies between the values of one flag."""

    name: str
    share: float
    """Variance of the groups' means over the whole variance, 0 to 1."""
    chance: float
    """The share to be expected of a flag that does nothing: (values - 1) / (trials - 1)."""
    values: int
    """Different values in trials that held a rate."""


@dataclass(frozen=True)
class Importance:
    """The shares, largest first."""

    trials: int
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class Bar:
    """One corner."""

    name: str
    rate: float | None
    """Requests/s per device."""
    low: float | None
    """The baseline's rate times the gain's 95 % interval."""
    high: float | None
    text: str
    """The gain with its interval, or why there is no rate."""
    preliminary: bool


def searched(trials: Iterable[Trial], variant: Variant) -> list[Trial]:
    """A variant's trials of a search, the default's first; none where there was no search."""
    mine = [t for t in trials if t.variant == variant and t.purpose != "finalist"]
    if all(trial.purpose == "benchmark" for trial in mine):
        return []
    return sorted(mine, key=lambda trial: trial.purpose != "benchmark")  # stable


def winner_of(trials: Sequence[Trial], contenders: Iterable[Contender]) -> str | None:
    """Id of the trial that proposed the best configuration; None: no rate held.

    Args:
        trials: as :func:`searched` gives them.
        contenders: of the last comparison, which has the last word where there was one.
    """
    variants = {trial.variant for trial in trials}
    last = winner([one for one in contenders if one.variant in variants])
    top = best(trials)
    return last.of if last else top.id if top else None


def best_so_far(trials: Sequence[Trial]) -> BestSoFar | None:
    """Best rate per device against the device-hours spent; None where none are on record."""
    hours, top = 0.0, 0.0
    marks, steps = list[Mark](), list[tuple[float, float]]()
    for trial in trials:
        hours += trial.device_seconds / 3600
        rate = _rate(trial)
        marks.append(Mark(trial.id, hours, _kind(trial), rate))
        if rate is not None and rate > top:
            top = rate
            steps.append((hours, top))
    if hours <= 0:
        return None
    if steps:
        steps.append((hours, top))
    expected = [t.predicted_rps / t.serving.devices for t in trials if t.predicted_rps]
    return BestSoFar(tuple(marks), tuple(steps), max(expected, default=None))


def flags(
    trials: Sequence[Trial], dimensions: Sequence[Dimension], won: str | None
) -> Flags | None:
    """Every trial's way through the searched flags; None where nothing varies.

    A configuration may have values that the search does not propose: the default's are shown too.
    """
    points = [point_of(trial.serving, dimensions) for trial in trials]
    shown = [d for d in dimensions if len(_values(d, points)) > 1]
    if not shown:
        return None
    rates = [_rate(trial) for trial in trials]
    columns, axes = [], []
    for dimension in shown:
        values = _values(dimension, points)
        places = _places(dimension, values)
        at = [places[values.index(_value(point, dimension))] for point in points]
        columns.append(_beside(at, rates))
        axes.append(FlagAxis(dimension.name, _labels(values, places)))
    lines = [
        Line(trial.id, _kind(trial), rate, tuple(column[row] for column in columns), won=False)
        for row, (trial, rate) in enumerate(zip(trials, rates, strict=True))
    ]
    best_last = sorted(lines, key=lambda line: (line.trial == won, line.rate or 0.0))
    return Flags(
        tuple(axes),
        tuple(Line(**{**vars(line), "won": line.trial == won}) for line in best_last),
    )


def importance(trials: Sequence[Trial], dimensions: Sequence[Dimension]) -> Importance | None:
    """Share of the variance of log(rate per device) between the values of each flag.

    The correlation ratio (Pearson's eta squared), a flag at a time: the trials that held a rate
    are grouped by the flag's value, and the variance of the groups' means, each weighted with its
    trials, is set over the variance of all. Shares need not add up to 1: a sampler's trials are
    no balanced plan, so flags that changed together share what they explain.

    Returns:
        None where fewer than 4 trials held a rate, all rates are the same, or nothing varies.
    """
    able = [trial for trial in trials if _rate(trial)]
    if len(able) < _NEEDED:
        return None
    rates = np.log([_rate(trial) or 1.0 for trial in able])
    whole = float(np.sum((rates - rates.mean()) ** 2))
    if whole < 1e-12:
        return None
    points = [point_of(trial.serving, dimensions) for trial in able]
    shares = []
    for dimension in dimensions:
        groups: dict[Flag | None, list[float]] = defaultdict(list)
        for point, rate in zip(points, rates, strict=True):
            groups[_value(point, dimension)].append(float(rate))
        between = sum(
            len(group) * (float(np.mean(group)) - float(rates.mean())) ** 2
            for group in groups.values()
        )
        chance = (len(groups) - 1) / (len(able) - 1)
        shares.append(Share(dimension.name, between / whole, chance, len(groups)))
    if all(share.values == 1 for share in shares):
        return None
    # of equals the order of the space
    return Importance(len(able), tuple(sorted(shares, key=lambda share: -share.share)))


def bars(corners: Mapping[str, Corner]) -> tuple[Bar, ...]:
    """The four corners in their order; empty where none has a rate."""
    base = corners["baseline"].rate_per_gpu
    found = [_bar(name, corners[name], base) for name in CORNERS]
    return tuple(found) if any(bar.rate is not None for bar in found) else ()


def _bar(name: str, corner: Corner, base: float | None) -> Bar:
    low = base * corner.gain_low if base and corner.gain_low else None
    high = base * corner.gain_high if base and corner.gain_high else None
    if corner.gain is None:
        text = corner.reason or ""
    elif name == "baseline":
        text, low, high = "", None, None
    elif corner.gain_low is None or corner.gain_high is None:
        text = f"gain {corner.gain:.2f}x\nno interval"
    elif corner.gain_low == corner.gain_high:
        text, low, high = "gain 1x\nthe default won", None, None
    else:
        tie = " (a tie)" if corner.gain_low <= 1 <= corner.gain_high else ""
        text = (
            f"gain {corner.gain:.2f}x{tie}\n95 %: {corner.gain_low:.2f} to {corner.gain_high:.2f}"
        )
    return Bar(name, corner.rate_per_gpu, low, high, text, corner.preliminary)


def _rate(trial: Trial) -> float | None:
    return None if trial.rate_rps is None else trial.rate_rps / trial.serving.devices


def _kind(trial: Trial) -> Kind:
    if trial.state != "complete":
        return trial.state
    if trial.rate_rps is None:
        return "not held"
    return "default" if trial.purpose == "benchmark" else "held"


def _value(point: Mapping[str, Flag], dimension: Dimension) -> Flag | None:
    return point.get(dimension.name)


def _values(dimension: Dimension, points: Sequence[Mapping[str, Flag]]) -> list[Flag | None]:
    """Values of the space and of the trials, bottom to top; None, not set, at the bottom."""
    seen = [_value(point, dimension) for point in points]
    known = list(dict.fromkeys([*dimension.values, *(v for v in seen if v is not None)]))
    if dimension.ordered and not any(isinstance(value, str) for value in known):
        known.sort(key=float)
    return [*([None] if None in seen else []), *known]


def _places(dimension: Dimension, values: Sequence[Flag | None]) -> list[float]:
    """Equal distances; by the logarithm where the dimension is by factors."""
    marks = [float(index) for index in range(len(values))]
    numbers = [float(value) for value in values if value is not None] if dimension.log else []
    if numbers and min(numbers) > 0:
        marks = [math.log2(number) for number in numbers]
        if None in values:
            marks.insert(0, marks[0] - 0.15 * (marks[-1] - marks[0] or 1.0))
    span = marks[-1] - marks[0]
    return [(mark - marks[0]) / span if span else 0.5 for mark in marks]


def _labels(
    values: Sequence[Flag | None], places: Sequence[float]
) -> tuple[tuple[str, float], ...]:
    """Each value with its place; one that would overlap the next has an empty label."""
    found = list[tuple[str, float]]()
    below, top = -1.0, places[-1]
    for value, place in zip(values, places, strict=True):
        fits = place == top or (place - below >= _NEAR and top - place >= _NEAR)
        found.append((_word(value) if fits else "", place))
        below = place if fits else below
    return tuple(found)


def _word(value: Flag | None) -> str:
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _beside(places: Sequence[float], rates: Sequence[float | None]) -> list[float]:
    """Places of one axis with equal ones fanned out, the higher rate above."""
    different = sorted(set(places))
    gaps = [above - below for below, above in pairwise(different)]
    reach = min([_SPREAD, *(0.35 * gap for gap in gaps)])
    count, met = Counter(places), Counter[float]()
    found = list(places)
    for row in sorted(range(len(places)), key=lambda row: rates[row] or 0.0):
        many, place = count[places[row]], places[row]
        if many > 1:
            found[row] = place + reach * (2 * met[place] / (many - 1) - 1)
        met[place] += 1
    return found
