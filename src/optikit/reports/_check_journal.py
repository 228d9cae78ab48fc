"""A job's journal, checked: its lines, its states, and that nothing was done twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.journal import event_of, has_checksum
from optikit.reports.summary import FINAL
from optikit.spec.finding import Finding
from optikit.spec.record import Trial

__all__ = ["history", "lines", "torn"]

_CODES: Mapping[str, tuple[int, ...]] = {
    "done": (0,),
    "negative": (3,),
    "inconclusive": (4,),
    "cancelled": (130,),
    "rejected": (2,),
    "failed": (1,),
}
_WITHOUT_A_RUN = ("cancelled", "failed")
"""Ends that others write of a driver that never spoke."""
_WORK = frozenset({"stage", "trial_started", "trial", "probe", "record", "candidate", "occupied"})
"""Events that only a driver at work, or its workers, write."""
_BEGIN, _END, _SEAL = b'{"t": ', b'"}', b'"crc": '
_SEAL_BYTES = 24


def torn(raw: bytes) -> bool:
    """Whether a line that is no event is the beginning of one: its writer died over it."""
    cut = raw.startswith(_BEGIN[: len(raw)]) and not raw.endswith(_END)
    return cut and _SEAL not in raw[-_SEAL_BYTES:]


def lines(raw: bytes) -> tuple[list[Finding], int]:
    """What is wrong with the journal's lines, and how many a crash tore.

    Args:
        raw: the whole file.
    """
    found: list[Finding] = []
    cut = 0
    rows = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    sealed = any(has_checksum(line) for _, line in rows)
    for number, line in rows:
        where = f"journal.jsonl line {number}"
        if event_of(line) is None:
            if torn(line):
                cut += 1
                continue
            shown = line[:60].decode(errors="replace")
            found.append(Finding(kind="unreadable", where=where, recorded=shown))
        elif sealed and not has_checksum(line):
            found.append(Finding(kind="digest", where=f"{where}: checksum", recorded=None))
    return found, cut


def history(archive: JobArchive, events: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What cannot have happened one after the other."""
    if not events or events[0]["kind"] != "created":
        yield Finding(kind="history", where="journal.jsonl: the first event is not 'created'")
    yield from _states(events)
    yield from _twice(archive)
    yield from _unfinished(events)


def _states(events: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Running, then one end; between runs nobody works."""
    state = "starting"
    for number, event in enumerate(events, 1):
        where = f"journal.jsonl event {number} ({event['kind']})"
        if event["kind"] != "state":
            if state in FINAL and event["kind"] in _WORK:
                yield Finding(kind="history", where=f"{where}: after the end", recorded=state)
            continue
        said, code = event.get("state"), event.get("exit_code")
        if said in ("starting", "running"):
            state = str(said)
            continue
        if said not in FINAL:
            yield Finding(kind="history", where=f"{where}: state", recorded=said)
            continue
        if state in FINAL or (state == "starting" and said not in _WITHOUT_A_RUN):
            yield Finding(kind="history", where=f"{where}: {said} after {state}", recorded=said)
        if code not in _CODES[said]:
            derived = _CODES[said][0]
            yield Finding(
                kind="figure", where=f"{where}: exit_code", recorded=code, derived=derived
            )
        state = said


def _twice(archive: JobArchive) -> Iterator[Finding]:
    """Trials of one configuration and model that ended well, and were run once more."""
    done: dict[tuple[str, str, str], int] = {}
    for number, event in enumerate(archive.events(), 1):
        if event["kind"] != "trial":
            continue
        try:
            trial = Trial.parse(event.get("trial"))
        except OptikitError as error:
            where = f"journal.jsonl event {number} (trial)"
            yield Finding(kind="unreadable", where=where, recorded=str(error)[:200])
            continue
        key = (trial.id, trial.model_digest, trial.serving.digest)
        if key in done:
            where = f"journal.jsonl event {number}: trial {trial.id} ended before, in event"
            yield Finding(kind="history", where=f"{where} {done[key]}", recorded=trial.state)
        if trial.state != "failed":
            done[key] = number


def _unfinished(events: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """In a run that ended well: trials that began and of which nobody heard again."""
    began: dict[str, int] = {}
    early = False
    for number, event in enumerate(events, 1):
        if event["kind"] == "state" and event.get("state") == "running":
            began, early = {}, False
        elif event["kind"] == "trial_started":
            began[str(event.get("trial"))] = number
        elif event["kind"] == "trial" and isinstance(event.get("trial"), dict):
            began.pop(str(event["trial"].get("id")), None)
        elif event["kind"] == "note" and "ends early" in str(event.get("text")):
            early = True  # the budget's end: what had not answered by then was ended
        elif event["kind"] == "state" and event.get("state") == "done" and not early:
            for trial, at in began.items():
                where = f"journal.jsonl event {at}: trial {trial} began and has no end"
                yield Finding(kind="history", where=where)
