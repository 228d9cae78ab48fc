"""An archive, checked: every figure derived again from the raw files, every file by its digest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optikit.archive import JobArchive
from optikit.errors import ArchiveError, OptikitError
from optikit.reports._check_files import check_files
from optikit.reports._check_journal import history, lines
from optikit.reports._check_records import check_records
from optikit.reports._check_scrapes import check_scrapes
from optikit.reports._check_trials import Counted, check_trial
from optikit.spec.finding import ArchiveCheck, Finding

__all__ = ["check_archive"]


def check_archive(archive: JobArchive) -> ArchiveCheck:
    """What one job's archive says that does not follow from its own files.

    A job that still runs may be checked: what it has not written yet is not missed. Nothing is
    written, nothing is asked of the network, and damage is a finding, never an exception.
    """
    counted = Counted()
    found: list[Finding] = []
    torn = 0
    try:
        raw = archive.journal.read_bytes()
    except OSError as error:
        found.append(Finding(kind="missing", where="journal.jsonl", recorded=error.strerror))
    else:
        wrong, torn = lines(raw)
        found += wrong
        found += _told("the rest", _content(archive, counted))
    return ArchiveCheck(
        job_id=archive.job_id,
        findings=tuple(found),
        torn_lines=torn,
        trials=counted.trials,
        probes=counted.probes,
        requests=counted.requests,
        files=counted.files,
    )


def _content(archive: JobArchive, counted: Counted) -> Iterator[Finding]:
    yield from history(archive, list(archive.events()))
    plan = archive.plan()
    trials = archive.trials()
    probes = archive.of_kind("probe")
    for trial in trials:
        yield from check_trial(archive, plan, trial, probes, counted)
        folder = archive.root / "trials" / Path(trial.id).name
        yield from check_scrapes(folder, f"trials/{trial.id}", trial, counted)
    records = archive.records()
    yield from _told("records", check_records(archive, plan, records, trials))
    yield from check_files(archive, plan, records, counted)


def _told(what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; where an event or file on the way cannot be read, that is the last one."""
    try:
        yield from findings
    except ArchiveError as error:
        yield Finding(kind="unreadable", where=what, recorded=str(error)[:400])
    except (OptikitError, LookupError, RuntimeError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"[:400]
        yield Finding(kind="history", where=f"{what}: no job comes to this", recorded=told)
