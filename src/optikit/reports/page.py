"""One job as a page: sections of text, tables and figures, verdicts first.

What a section says is decided here, once for HTML, Markdown and JSON; how it looks is decided in
``templates/``. Nothing is measured or derived anew: every figure is the summary's, or a record's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optikit.archive import JobArchive
from optikit.reports._engine_said import engine_rows, engine_text
from optikit.reports._hours import where_the_hours_went
from optikit.reports.plots import NAMES, TUNING_NAMES, plots_of_job
from optikit.reports.summary import summary
from optikit.reports.words import bytes_text, corner_rows, duration, finalist_rows, number
from optikit.spec.quality import Divergence
from optikit.spec.record import Trial
from optikit.spec.simulated import MARK
from optikit.spec.workload import Workload

__all__ = ["Figure", "Page", "Section", "Table", "page_of"]

_TONES = {"pass": "good", "fail": "bad", "kept": "good", "lost": "bad"}
_FIGURES = dict(
    zip(
        (*NAMES, *TUNING_NAMES),
        (
            "Latency against offered rate, a point a probe",
            "Completions against arrivals of one probe",
            "Requests in flight over one probe",
            "Best rate per device against the device-hours spent",
            "Configurations that were tried, and the rate of each",
            "How much of the rates' variance goes with each flag",
            "Rate per device of the four corners, with the gains' intervals",
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """An SVG file."""

    text: str
    """What it shows, for those who do not see it."""
    path: Path


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    name: str
    """For links."""
    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    code: str | None = None


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    simulated: bool
    verdict: str
    """pass, fail, inconclusive; the job's state where there is none."""
    tone: str
    """good, bad or unclear."""
    message: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def page_of(archive: JobArchive) -> Page:
    """A job's page, with figures where matplotlib is installed; a running job's says so.

    Raises:
        ArchiveError: the archive is not whole, or a raw file is damaged.
    """
    facts, trials = summary(archive), archive.trials()
    shown = _shown_trial(facts, trials)
    plots = plots_of_job(archive, {shown.id} if shown else ())
    drawn = {path.relative_to(archive.root): path for path in plots}
    made = (
        _serving(facts),
        _corners(facts, drawn),
        _rate_search(shown, drawn),
        _engine_said(shown),
        _tuning(facts, trials, drawn),
        _quality(facts),
        _left_out(archive, trials),
        _hours(archive, trials),
        _environment(archive),
        _archive(archive, facts),
    )
    verdict = str(facts["verdict"] or facts["state"])
    return Page(
        title=f"{facts['flow']} of {facts['model']} on {facts['endpoint'] or facts['sku']}",
        simulated=facts["simulated"],
        verdict=verdict,
        tone=_TONES.get(verdict, "unclear"),
        message=facts["message"] or "",
        facts=_head(facts),
        sections=tuple(section for section in made if section is not None),
    )


def _head(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    rows = {
        "Job": facts["id"],
        "Submitted": facts["created"],
        "State": facts["state"],
        "Model": facts["model"],
        "From": facts["model_address"],
        "Licence": None if facts["simulated"] else facts["licence"],
        "Recipe": facts["recipe"],
        **({"Endpoint": facts["endpoint"]} if facts["endpoint"] else {}),
        "Sent from" if facts["endpoint"] else "SKU": facts["sku"],
        "Engine": facts["engine"],
        "Workload": str(Workload.parse(facts["workload"])),
        "SLO": ", ".join(facts["slo"]) or "none (highest sustained rate)",
        "Registered as": facts["registered"],
        "Quality": "; ".join(_quality_words(v) for v in facts["quality"]) or None,
        "Damaged": f"{facts['damaged_lines']} lines of the journal"
        if facts["damaged_lines"]
        else None,
        "Not given back": "; ".join(facts["left"]) or None,
    }
    return tuple((name, str(value)) for name, value in rows.items() if value is not None)


def _quality_words(verdict: Mapping[str, Any]) -> str:
    return f"{verdict['candidate_id']}: {verdict['verdict']}"


def _table(
    caption: str, rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]
) -> tuple[Table, ...]:
    cells = tuple(tuple(number(row.get(column)) for column in columns) for row in rows)
    return (Table(caption, columns, cells),) if cells else ()


def _figures(drawn: Mapping[Path, Path], folder: str, names: Sequence[str]) -> tuple[Figure, ...]:
    found = [(name, drawn.get(Path(folder) / name)) for name in names]
    return tuple(Figure(_FIGURES[name], path) for name, path in found if path is not None)


def _serving(facts: Mapping[str, Any]) -> Section | None:
    again = f"Measure its certificate again: optikit verify {facts['certificate']}"
    if facts["bundle"] is None:
        if facts["certificate"] is None:
            return None
        server = f"{facts['endpoint']} is somebody else's server; nothing was started."
        return Section("serve", "The server", (server, again))
    said = [f"The bundle: {facts['bundle']}"]
    if facts["certificate"]:
        said.append(again)
    code = None if facts["simulated"] else shlex.join(["sh", f"{facts['bundle']}/serve.sh"])
    if facts["simulated"]:
        said.append(f"{MARK}: there is no model to serve.")
    return Section("serve", "Serve it", tuple(said), code=code)


def _corners(facts: Mapping[str, Any], drawn: Mapping[Path, Path]) -> Section | None:
    corners = facts["corners"]
    if not any(corner["trial"] for corner in corners.values()):
        return None
    rows = corner_rows(corners)
    told = "Highest rate that holds the SLO, gains with 95 % intervals"
    tables = _table(told, rows, tuple(rows[0]))
    again = finalist_rows(facts)
    if again:
        tables += _table("Measured again, interleaved on fresh servers", again, tuple(again[0]))
    return Section(
        "corners", "Four corners", tables=tables, figures=_figures(drawn, "plots", TUNING_NAMES[3:])
    )


def _shown_trial(facts: Mapping[str, Any], trials: Sequence[Trial]) -> Trial | None:
    """The trial that ships; the last one that has a rate where none does."""
    rated = [trial for trial in trials if trial.rate is not None]
    return next((t for t in rated if t.id == facts["winner"]), rated[-1] if rated else None)


def _rate_search(shipped: Trial | None, drawn: Mapping[Path, Path]) -> Section | None:
    if shipped is None or shipped.rate is None:
        return None
    rows = [
        {
            "probe": probe.number,
            "phase": probe.phase,
            "load": f"{probe.rate_rps:.4g} req/s"
            if probe.rate_rps
            else f"closed loop of {probe.concurrency}",
            "requests": probe.measurement.requests if probe.measurement else None,
            "verdict": probe.verdict,
            "why": probe.reason,
        }
        for probe in shipped.rate.probes
    ]
    text = (
        f"Trial {shipped.id} ({shipped.variant}), method {shipped.rate.method}: "
        f"{shipped.rate.reason}"
    )
    columns = ("probe", "phase", "load", "requests", "verdict", "why")
    return Section(
        "rate",
        "Rate search",
        (text,),
        _table("Every probe", rows, columns),
        _figures(drawn, f"trials/{shipped.id}", NAMES),
    )


def _engine_said(shipped: Trial | None) -> Section | None:
    if shipped is None or shipped.engine_metrics is None:
        return None
    said = shipped.engine_metrics
    rows = engine_rows(said)
    tables = _table("Every probe by the engine's counters", rows, tuple(rows[0])) if rows else ()
    return Section("engine", "What the engine said", engine_text(shipped.id, said), tables)


def _tuning(
    facts: Mapping[str, Any], trials: Sequence[Trial], drawn: Mapping[Path, Path]
) -> Section | None:
    mine = [trial for trial in trials if trial.purpose == "tune"]
    if not mine:
        return None
    rows = [
        {
            "trial": trial.id,
            "TP": trial.serving.tensor_parallel,
            "max_num_seqs": trial.serving.max_num_seqs,
            "max_num_batched_tokens": trial.serving.max_num_batched_tokens,
            "rate per device": None
            if trial.rate_rps is None
            else trial.rate_rps / trial.serving.devices,
            "predicted": None
            if trial.predicted_rps is None
            else trial.predicted_rps / trial.serving.devices,
            "state": trial.state,
        }
        for trial in mine
    ]
    said = [
        f"While tuning ({name}) trials held {used['reserved']:.0%} of the devices "
        f"({used['reserved_until_last_launch']:.0%} until the last one began); a probe ran on "
        f"{used['measuring']:.0%}."
        for name, used in facts["usage"].items()
    ]
    return Section(
        "tuning",
        "Tuning",
        tuple(said),
        _table("Trials; predictions are a model's figures", rows, tuple(rows[0])),
        _figures(drawn, "plots", TUNING_NAMES[:3]),
    )


def _quality(facts: Mapping[str, Any]) -> Section | None:
    text: list[str] = []
    tables: tuple[Table, ...] = ()
    for verdict in facts["quality"]:
        text.append(f"{_quality_words(verdict)} ({verdict['reason']}).")
        if verdict["divergence"]:
            text.append(f"Divergence: {Divergence.parse(verdict['divergence'])}.")
        rows = [
            {
                "task": task["task"],
                "metric": task["metric"],
                "verdict": task["verdict"],
                "items": task["items"],
                "baseline": task["baseline"],
                "candidate": task["candidate"],
                "loss (interval)": "{value:.3g} ({low:.3g} to {high:.3g})".format(**task["loss"]),
                "items needed": task["items_needed"],
            }
            for task in verdict["tasks"]
        ]
        if rows:
            tables += _table(f"Scores of {verdict['candidate_id']}", rows, tuple(rows[0]))
    made = [
        {
            "candidate": one["id"],
            "samples": one["samples"],
            "took": duration(one["wall_s"]),
            "size": bytes_text(one["size_bytes"]) if one["size_bytes"] else one["error"],
            "goes on": one["goes_on"],
        }
        for one in facts["candidates"]
    ]
    if made:
        tables += _table("Candidates", made, tuple(made[0]))
    return Section("quality", "Quality", tuple(text), tables) if text or tables else None


def _left_out(archive: JobArchive, trials: Sequence[Trial]) -> Section | None:
    """What was pruned, failed, or never started, and why."""
    rows = [
        {
            "trial": trial.id,
            "state": trial.state,
            "cause": trial.cause,
            "why": trial.error or (trial.rate.reason if trial.rate else None),
        }
        for trial in trials
        if trial.state != "complete"
    ]
    avoided = len(archive.of_kind("avoided"))
    text = [f"{avoided} proposals were not started: they would have failed as others did."]
    text += [f"{name}: {why}" for name, why in archive.plan().left_out.items()]
    tables = _table("Pruned and failed", rows, ("trial", "state", "cause", "why"))
    said = tuple(text if avoided else text[1:])
    return Section("left-out", "Pruned, failed, left out", said, tables) if rows or said else None


def _hours(archive: JobArchive, trials: Sequence[Trial]) -> Section | None:
    rows = where_the_hours_went(archive, trials)
    if not rows:
        return None
    cells = [
        {
            "stage": row.stage,
            "state": row.state,
            "took": duration(row.seconds),
            "in the queue": duration(row.queued_s) if row.queued_s else None,
            "device-hours": row.device_hours or None,
            "of these starting": _percent(row.starting),
            "measuring": _percent(row.measuring),
            "teardown": duration(row.teardown_s) if row.teardown_s is not None else None,
        }
        for row in rows
    ]
    return Section(
        "hours", "Where the hours went", tables=_table("By stage", cells, tuple(cells[0]))
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _environment(archive: JobArchive) -> Section:
    found = archive.environment()
    flat = {**found.get("hardware", {}), "python": found.get("python")}
    engine = found.get("engine") or {}
    flat |= {f"engine: {engine.get('name')}": engine.get("version")} if engine else {}
    flat |= found.get("packages", {})
    rows = [{"what": name, "found": value} for name, value in flat.items()]
    return Section(
        "environment", "Environment", tables=_table("At submission", rows, ("what", "found"))
    )


def _archive(archive: JobArchive, facts: Mapping[str, Any]) -> Section:
    files = ("job.json", "plan.json", "environment.json", "journal.jsonl", "driver.log")
    there = [name for name in files if (archive.root / name).exists()]
    rows = [{"file": str(archive.root / name)} for name in there]
    text = f"{facts['trials']} trials, each with its raw timings, under {archive.root / 'trials'}"
    return Section("archive", "Archive", (text,), _table("Files", rows, ("file",)))
