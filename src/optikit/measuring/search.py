"""Runs a rate search on an endpoint and keeps every probe, however the search ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from optikit.core.search import RateSearch
from optikit.core.timings import Timings
from optikit.errors import BadInput, EngineDied, OptikitError
from optikit.loadgen.base import LoadGenerator
from optikit.loadgen.find_rate import find_rate
from optikit.measuring.archive import MeasurementArchive
from optikit.reports.plots import write_plots
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import Probe, RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload
from optikit.stages.base import write_lines

__all__ = ["Ended", "OnProbe", "draw", "now", "recorded_end", "search_kept", "seconds"]

OnProbe = Callable[[Probe], None]
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Ended:
    """How a search ended."""

    rate: RateResult
    interrupted: bool = False
    """Somebody pressed Ctrl-C; the rate is what was known by then, and claims nothing."""


def search_kept(
    archive: MeasurementArchive,
    search: RateSearch,
    generator: LoadGenerator,
    endpoint: Endpoint,
    workload: Workload,
    slo: Slo,
    method: MethodChoice,
    *,
    trace: Trace | None,
    check: Callable[[], None],
    on_probe: OnProbe,
) -> Ended:
    """Search; a server that dies and an interruption end it as inconclusive, not as an error.

    Args:
        check: raises EngineDied when the server is gone.
        on_probe: called with each probe once it is judged and on disk.

    Raises:
        BadInput: the prompts of the workload cannot be made for this server.
        ArchiveError: the disk does not take what was measured.
    """

    def keep(probe: Probe, timings: Timings) -> str:
        name = f"probe-{probe.number:02d}.jsonl"
        write_lines(archive.root / name, timings.rows())
        kept = probe.model_copy(update={"raw": name})
        archive.event("probe", probe=kept.model_dump(mode="json"))
        on_probe(kept)
        return name

    try:
        rate = find_rate(
            search,
            generator,
            endpoint,
            workload,
            slo,
            method,
            trace=trace,
            on_probe=keep,
            check=check,
            remaining_s=lambda: math.inf,
        )
    except EngineDied as error:
        return Ended(_claims_nothing(search.result(), str(error)))
    except KeyboardInterrupt:
        return Ended(_claims_nothing(search.result(), "interrupted"), interrupted=True)
    return Ended(rate)


def _claims_nothing(rate: RateResult, why: str) -> RateResult:
    """What was seen stays in the record, as an estimate at most."""
    return rate.model_copy(
        update={"outcome": "inconclusive", "rate_rps": None, "preliminary": True, "reason": why}
    )


@contextlib.contextmanager
def recorded_end(archive: MeasurementArchive) -> Iterator[None]:
    """The journal says how it ended when an error leaves the block."""
    try:
        yield
    except OptikitError as error:
        archive.event("ended", state="failed", error=str(error))
        raise


def draw(
    archive: MeasurementArchive, slo: Slo, rate: RateResult, simulated: bool = False
) -> list[str]:
    """Plots beside the raw files; none where the library for them is missing."""
    return [str(path) for path in write_plots(archive.root, rate.probes, slo, rate, simulated)]


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds(text: str) -> float:
    """A duration as a person writes it: ``90s``, ``10m``, ``1h``; a plain number is seconds.

    Raises:
        BadInput: anything else, or nothing above 0.

    >>> seconds("10m"), seconds("1.5h"), seconds("20")
    (600.0, 5400.0, 20.0)
    """
    word = text.strip().lower()
    unit = _UNITS.get(word[-1:], 0)
    try:
        found = float(word[:-1] if unit else word) * (unit or 1)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise BadInput(f"{text!r} is no duration; write it as 90s, 10m or 1h")
    return found
