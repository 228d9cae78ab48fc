"""Pictures of rate searches, from their probes and raw files, and of a tuning stage, from its
trials; docs/reference/plots.md."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from optikit.archive import JobArchive
from optikit.core.corners import four_corners
from optikit.core.timings import Timings
from optikit.engines import ENGINES
from optikit.errors import ArchiveError
from optikit.reports import _plot_draw as draw
from optikit.reports import _tuning_draw, tuning
from optikit.reports._elsewhere import Elsewhere, blind_searches
from optikit.reports._plot_data import completions, in_flight, rate_plot, shown_probe
from optikit.spec.record import Contender, Probe, RateResult, Trial, TuneRecord, Variant
from optikit.spec.simulated import marked
from optikit.spec.slo import Slo
from optikit.spec.space import ResolvedSpace

__all__ = [
    "NAMES",
    "TUNING_NAMES",
    "plots_of_job",
    "why_no_plots",
    "write_plots",
    "write_tuning_plots",
]

NAMES = ("latency-vs-rate.svg", "completions.svg", "in-flight.svg")
"""The figures of one search, in the order in which they are written."""
TUNING_NAMES = ("best-so-far.svg", "flags.svg", "importance.svg", "corners.svg")
"""The figures of a tuning stage, in the order in which they are written."""


def why_no_plots() -> str | None:
    """A sentence that says how to get figures; None: they can be drawn."""
    return None if draw.available() else draw.MISSING


def write_plots(
    folder: Path,
    probes: Sequence[Probe],
    slo: Slo,
    rate: RateResult | None,
    simulated: bool = False,
) -> list[Path]:
    """Draw a search into the folder that holds its raw files; each figure whole or not at all.

    Args:
        folder: holds ``probe-NN.jsonl``, a line a request. A figure whose raw file is missing,
            or that has nothing to show, is left out.
        rate: what the search found; None: it did not end.
        simulated: the figures are a model's; each title says so.

    Returns:
        The files that were written. None at all without matplotlib: :func:`why_no_plots`.

    Raises:
        ArchiveError: a raw file is damaged.
    """
    if not draw.available():
        return []
    mark = marked("", simulated)
    latency, completed, flight = (folder / name for name in NAMES)
    written = []
    with draw.style():
        if (search := rate_plot(probes, slo, rate)) is not None:
            title = f"{mark}Latency against offered rate, by verdict of each probe"
            if not slo.bounds:
                title = f"{mark}Latency against rate, no SLO"
            draw.save(draw.draw_rate(search, title), latency)
            written.append(latency)
        probe = shown_probe(probes, rate)
        timings = None if probe is None else _timings(folder, probe)
        if probe is None or timings is None:
            return written
        which = f"probe {probe.number} at {probe.rate_rps or 0.0:.4g} requests/s ({probe.verdict})"
        if (points := completions(timings)) is not None:
            title = f"{mark}Completions against arrivals, {which}"
            draw.save(draw.draw_completions(points, title), completed)
            written.append(completed)
        if (steps := in_flight(timings)) is not None:
            title = f"{mark}Requests in flight, {which}"
            draw.save(draw.draw_in_flight(steps, title), flight)
            written.append(flight)
    return written


def write_tuning_plots(
    folder: Path,
    trials: Sequence[Trial],
    spaces: Mapping[Variant, ResolvedSpace],
    contenders: Sequence[Contender],
    compresses: bool,
    simulated: bool = False,
    elsewhere: Mapping[Variant, Sequence[Elsewhere]] | None = None,
) -> list[Path]:
    """Draw a tuning stage into a folder; each figure whole or not at all.

    Args:
        trials: of the benchmark and the tuning stage, in the order in which they ended.
        spaces: what was searched, by variant.
        contenders: of the last comparison; empty: there was none.
        compresses: whether the flow has a compressed variant.
        simulated: the figures are a model's; each title says so.
        elsewhere: earlier jobs' blind searches for the same, to draw beside each variant's.

    Returns:
        The files that were written. A figure that has nothing to show is left out; none at all
        before the first trial of a search, and none without matplotlib.
    """
    found = {variant: tuning.searched(trials, variant) for variant in spaces}
    found = {variant: mine for variant, mine in found.items() if mine}
    if not found or not draw.available():
        return []
    mark = marked("", simulated)
    progress, ways, shares = [], [], []
    for variant, mine in found.items():
        dimensions = spaces[variant].dimensions
        if (spent := tuning.best_so_far(mine)) is not None:
            progress.append((variant, spent))
        won = tuning.winner_of(mine, contenders)
        if (way := tuning.flags(mine, dimensions, won)) is not None:
            ways.append((variant, way))
        if (shared := tuning.importance(mine, dimensions)) is not None:
            shares.append((variant, shared))
    corners = four_corners(
        [trial for trial in trials if trial.purpose == "benchmark"],
        [trial for trial in trials if trial.purpose != "benchmark"],
        compresses,
        contenders,
    )
    bars = tuning.bars(corners)
    best, flags, importance, four = (folder / name for name in TUNING_NAMES)
    written = []
    with draw.style():
        if progress:
            title = f"{mark}Best rate per device against the device-hours spent"
            draw.save(_tuning_draw.draw_best_so_far(progress, title, elsewhere or {}), best)
            written.append(best)
        if ways:
            title = f"{mark}Configurations that were tried, and the rate of each"
            draw.save(_tuning_draw.draw_flags(ways, title), flags)
            written.append(flags)
        if shares:
            title = f"{mark}How much of the rates' variance goes with each flag"
            draw.save(_tuning_draw.draw_importance(shares, title), importance)
            written.append(importance)
        if bars:
            title = f"{mark}Rate per device, and its gain over the baseline"
            draw.save(_tuning_draw.draw_corners(bars, title), four)
            written.append(four)
    return written


def plots_of_job(archive: JobArchive, of: Collection[str] | None = None) -> list[Path]:
    """Draw every trial of a job that measured a rate, into the trial's folder, then its tuning
    stage, into the job's folder ``plots``.

    Args:
        of: ids of the only trials to draw; None: all of them.

    Raises:
        ArchiveError: the archive is not whole, or a raw file is damaged.
        UnknownName: the job's engine is not installed here, so that nobody can say whether its
            figures are simulated.
    """
    if not draw.available():
        return []
    plan = archive.plan()
    job = plan.job
    simulated = ENGINES.load(job.engine.name).facts.simulated
    written = []
    trials = archive.trials()
    for trial in trials:
        if trial.rate is not None and (of is None or trial.id in of):
            folder = archive.folder("trials", trial.id)
            written += write_plots(folder, trial.rate.probes, job.slo, trial.rate, simulated)
    if all(trial.purpose == "benchmark" for trial in trials):
        return written
    spaces: dict[Variant, ResolvedSpace] = {"baseline": plan.baseline_space or plan.space}
    if plan.flow.compresses:
        spaces["compressed"] = plan.space
    tune = archive.records().get("tune")
    contenders = tune.contenders if isinstance(tune, TuneRecord) else ()
    folder, earlier = archive.folder("plots"), archive.earlier()
    beside = {variant: blind_searches(plan, variant, earlier) for variant in spaces}
    return written + write_tuning_plots(
        folder, trials, spaces, contenders, plan.flow.compresses, simulated, beside
    )


def _timings(folder: Path, probe: Probe) -> Timings | None:
    """A probe's raw file, None where it is missing."""
    # the name alone: a record does not choose the folder
    path = folder / Path(probe.raw or f"probe-{probe.number:02d}.jsonl").name
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return Timings.from_rows(rows)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{path} should hold a request a line, and does not ({type(error).__name__}: {error}); "
            "restore it, or remove it to draw the other figures"
        ) from error
