"""What the tune stage may ask of a sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from optikit.core.predict import Prediction
from optikit.core.space import Point, Space

__all__ = ["Outcome", "Point", "Prior", "Seen", "Study", "Tuner"]


@dataclass(frozen=True)
class Outcome:
    """What a trial showed. Larger fitness is better."""

    fitness: float | None
    """None: the trial failed."""
    state: Literal["complete", "pruned", "failed"] = "complete"
    """``pruned``: ended early because it cannot win; then ``fitness`` is an upper bound."""
    rate_per_device: float | None = None
    """Requests per second and device that hold the SLO; None: no rate does, or it is not known."""
    margin: float | None = None
    """log(limit / value) of the SLO's tightest bound without queueing: below 0 no rate holds."""
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    """Medians of requests one after the other: without queueing."""
    cost_s: float | None = None
    """Device-seconds of the trial: start-up, measuring and teardown, times the devices."""
    cause: str | None = None
    """Of a failed start: out of memory, illegal flag, no kernel, timeout, crash."""


@dataclass(frozen=True)
class Seen:
    """A point that was measured elsewhere: the default, an earlier run, another job."""

    point: Point
    outcome: Outcome
    weight: float = 1.0
    """Below 1 where the other job's model, SKU or workload is only alike."""


class Prior(Protocol):
    """What is expected of a point before it is measured."""

    def predict(self, point: Point) -> Prediction:
        """Rate, latencies and cost; it learns nothing by being asked."""

    def learn(self, point: Point, outcome: Outcome) -> None:
        """Correct the next predictions by what was measured."""


class Study(Protocol):
    """One search. Any number of points may be asked before the first is told."""

    def ask(self) -> Point | None:
        """The next point, never one that was asked or told before; None: the space is used up."""

    def tell(self, point: Point, outcome: Outcome) -> None:
        """The result of a point, asked for or not."""


class Tuner(Protocol):
    """Starts searches."""

    name: str
    needs_prior: bool
    """Whether ``start`` must be given a prior."""
    keeps_study: bool
    """Whether results go into a database that Optuna's tools read; else into files of their own."""

    def start(
        self,
        space: Space,
        seed: int,
        storage: Path,
        *,
        url: str | None = None,
        prior: Prior | None = None,
        known: Sequence[Seen] = (),
    ) -> Study:
        """A new search, or the one that ``storage`` (a folder) holds from before.

        Args:
            url: database of the studies, where the sampler keeps any (``postgresql://...``); None:
                a file in ``storage``.
            known: what other searches saw; they count as hints, not as trials.
        """
