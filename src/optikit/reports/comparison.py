"""Two jobs side by side: what was asked differently, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optikit.archive import JobArchive
from optikit.reports.page import Page, Section, Table
from optikit.reports.summary import summary
from optikit.reports.words import CORNER_NAMES, gain_text, number
from optikit.spec.record import Trial

__all__ = ["comparison"]

_RATE_ROWS = ("rate (req/s)", "95 % interval", "rate per device", "SLO", "configuration of")


def comparison(one: JobArchive, other: JobArchive) -> Page:
    """A page of the differences.

    Rates are compared per device, and only where the same was asked: of another workload or SLO a
    higher rate says nothing. Intervals that overlap are called a tie.

    Raises:
        ArchiveError: an archive is not whole.
    """
    archives = (one, other)
    facts = [summary(archive) for archive in archives]
    shipped = [_shipped(a, f) for a, f in zip(archives, facts, strict=True)]
    ids = (one.job_id, other.job_id)
    simulated = any(fact["simulated"] for fact in facts)
    asked = _changes(*(a.plan().job.model_dump(mode="json") for a in archives))
    same = not any(key.split(".")[0] in ("workload", "slo") for key, *_ in asked)
    verdict, tone, message = _said(shipped, ids, same)
    sections = [
        _rows("asked", "Asked differently", "Keys of the job spec", ids, asked),
        _rows("rates", "Rates", "What ships", ids, _rates(facts, shipped)),
        _rows("corners", "Four corners", "Rate per device and gain", ids, _corners(facts)),
        _rows("quality", "Quality", "Verdicts", ids, _quality(facts)),
        _rows("flags", "Configurations that ship", "Engine arguments", ids, _flags(shipped)),
        _rows("cost", "Cost", "Of the whole job", ids, _cost(facts)),
        _rows("environment", "Environment", "At submission", ids, _environments(archives)),
    ]
    return Page(
        title=f"{ids[0]} beside {ids[1]}",
        simulated=simulated,
        verdict=verdict,
        tone=tone,
        message=message,
        facts=tuple((f["id"], f"{f['flow']} of {f['model']} on {f['sku']}") for f in facts),
        sections=tuple(section for section in sections if section is not None),
    )


_Row = tuple[str, Any, Any]


def _rows(
    name: str, title: str, caption: str, ids: tuple[str, str], rows: list[_Row]
) -> Section | None:
    cells = tuple((what, number(mine), number(theirs)) for what, mine, theirs in rows)
    if not cells:
        return None
    return Section(name, title, tables=(Table(caption, ("", *ids), cells),))


def _shipped(archive: JobArchive, facts: Mapping[str, Any]) -> Trial | None:
    """The trial that ships; else the benchmark's last one with a rate."""
    trials = archive.trials()
    won = next((trial for trial in trials if trial.id == facts["winner"]), None)
    rated = [trial for trial in trials if trial.rate_rps is not None]
    return won or (rated[-1] if rated else None)


def _said(shipped: list[Trial | None], ids: tuple[str, str], same: bool) -> tuple[str, str, str]:
    mine, theirs = (_per_device(trial) for trial in shipped)
    if not same:
        return "not comparable", "unclear", "The jobs asked for different workloads or SLOs."
    if mine is None or theirs is None:
        return "not comparable", "unclear", "One of the jobs has no rate that holds its SLO."
    (low, rate, high), (other_low, other_rate, other_high) = mine, theirs
    ratio = f"{other_rate / rate:.2f} times the rate per device"
    if other_low > high or other_high < low:
        first = ids[1] if other_rate > rate else ids[0]
        return f"{first} serves more", "good", f"{ids[1]} has {ratio} of {ids[0]}."
    return "a tie", "unclear", f"{ids[1]} has {ratio} of {ids[0]}; the intervals overlap."


def _per_device(trial: Trial | None) -> tuple[float, float, float] | None:
    if trial is None or trial.rate is None or trial.rate_rps is None:
        return None
    low, high = trial.rate.rate_low_rps, trial.rate.rate_high_rps
    ends = (low or trial.rate_rps, trial.rate_rps, high or trial.rate_rps)
    low_, rate, high_ = (value / trial.serving.devices for value in ends)
    return low_, rate, high_


def _rates(facts: list[dict[str, Any]], shipped: list[Trial | None]) -> list[_Row]:
    columns = []
    for fact, trial in zip(facts, shipped, strict=True):
        rate = trial.rate if trial else None
        interval = None
        if rate and rate.rate_low_rps is not None and rate.rate_high_rps is not None:
            interval = f"{rate.rate_low_rps:.4g} to {rate.rate_high_rps:.4g}"
        per_device = _per_device(trial)
        columns.append(
            (
                trial.rate_rps if trial else None,
                interval,
                per_device[1] if per_device else None,
                ", ".join(fact["slo"]) or "none",
                (trial.of or trial.id) if trial else None,
            )
        )
    return [(name, *values) for name, *values in zip(_RATE_ROWS, *columns, strict=True)]


def _corners(facts: list[dict[str, Any]]) -> list[_Row]:
    rows: list[_Row] = []
    for name, title in CORNER_NAMES.items():
        cells = [_corner(fact["corners"][name]) for fact in facts]
        if any(cells):
            rows.append((title, cells[0], cells[1]))
    return rows


def _corner(corner: Mapping[str, Any]) -> str | None:
    if corner["rate_per_gpu"] is None:
        return None
    gain = gain_text(corner)
    return f"{corner['rate_per_gpu']:.3g}" + (f", {gain}" if gain else "")


def _quality(facts: list[dict[str, Any]]) -> list[_Row]:
    cells = ["; ".join(f"{v['candidate_id']}: {v['verdict']}" for v in f["quality"]) for f in facts]
    return [("verdicts", cells[0] or None, cells[1] or None)] if any(cells) else []


def _flags(shipped: list[Trial | None]) -> list[_Row]:
    mine, theirs = shipped
    if mine is None or theirs is None:
        return []
    return [(name, a, b) for name, (a, b) in mine.serving.diff(theirs.serving).items()]


def _cost(facts: list[dict[str, Any]]) -> list[_Row]:
    seconds = [sum(stage["seconds"] or 0.0 for stage in fact["stages"]) for fact in facts]
    return [
        ("hours", *(value / 3600 for value in seconds)),
        ("device-hours of trials", *(fact["device_hours"] for fact in facts)),
        ("trials", *(fact["trials"] for fact in facts)),
    ]


def _environments(archives: tuple[JobArchive, JobArchive]) -> list[_Row]:
    mine, theirs = (archive.environment() for archive in archives)
    left_out = ("folder", "interpreter")
    return [row for row in _changes(mine, theirs) if row[0] not in left_out]


def _changes(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[_Row]:
    """Leaves that differ, by dotted path."""
    one, other = dict(_leaves(mine)), dict(_leaves(theirs))
    return [
        (key, one.get(key), other.get(key))
        for key in dict.fromkeys((*one, *other))
        if one.get(key) != other.get(key)
    ]


def _leaves(data: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(data, dict):
        return [(path, ", ".join(map(str, data)) if isinstance(data, list) else data)]
    return [
        leaf
        for key, value in data.items()
        for leaf in _leaves(value, f"{path}.{key}" if path else key)
    ]
