"""A job's journal as spans of a trace: job > stage > trial > engine start and probes. Pure.

The journal is the record, the trace a view of it: the same events give the same spans, with ids
derived from the job's id, so that sending a trace again adds nothing. Times lie on the line of
``core/budget.py``, which no set clock bends, and never run backwards.

A stage has a span a run of it: a resumed job has several. What a dead driver left open ends at its
last sign of life, as an error; what is open at the journal's end ends there, without one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from optikit.core.budget import steady

__all__ = ["LONGEST", "Attribute", "Span", "spans_of", "trace_id_of"]

LONGEST = 256
"""Characters of the longest attribute value and of the longest error."""
Attribute = str | int | float | bool
_ENDS = frozenset({"done", "negative", "inconclusive", "cancelled", "rejected", "failed"})
_FAILED = frozenset({"rejected", "failed"})
_NO_SIGN_OF_LIFE = frozenset(
    {
        *("cancel_asked", "stage_granted", "stage_refused", "stage_left"),
        *("note", "state", "collected", "trace_failed"),
    }
)
"""Events that others than the driver and its workers may write."""
_DIED = "the driver died"
_CUTS = re.compile(r"[/#]")


@dataclass(frozen=True)
class Span:
    """One piece of work; times are seconds since the epoch."""

    name: str
    span_id: str
    """16 hex digits."""
    parent_id: str | None
    """None: the job's own."""
    start_s: float
    end_s: float
    attributes: Mapping[str, Attribute]
    error: str | None = None
    """What went wrong; None: nothing did."""


@dataclass
class _Open:
    """A span that may still grow."""

    name: str
    path: str
    parent: _Open | None
    start_s: float
    attributes: dict[str, Attribute] = field(default_factory=dict)
    end_s: float | None = None
    error: str | None = None
    probed_s: float | None = None
    """Of a trial: when its last probe ended."""
    probes: int = 0
    engine: _Open | None = None
    starts: int = 0

    def told(self, **facts: object) -> None:
        """More attributes; ``a__b`` is spelt ``optikit.a.b``, and None is left out."""
        for name, value in facts.items():
            if value is not None:
                self.attributes[f"optikit.{name.replace('__', '.')}"] = _bounded(value)

    def end(self, at_s: float, error: object = None) -> None:
        """It ended; a second word on that changes nothing."""
        if self.end_s is None:
            self.end_s = max(at_s, self.start_s)
            self.error = None if error is None else (_text(error) or "failed")


def trace_id_of(job_id: str) -> str:
    """32 hex digits, of every trace of this job.

    >>> trace_id_of("j1") == trace_id_of("j1") != trace_id_of("j2")
    True
    """
    return hashlib.sha256(f"optikit trace {job_id}".encode()).hexdigest()[:32]


def spans_of(
    job_id: str, events: Sequence[Mapping[str, Any]], facts: Mapping[str, Attribute] | None = None
) -> list[Span]:
    """The spans of a job, parents before their children; none of an empty journal.

    Args:
        events: a journal, or any beginning of one, in the order in which it was written.
        facts: attributes of the job's own span, such as its model; cut at 256 characters.
    """
    if not events:
        return []
    at_s = list(accumulate(steady(events), max))
    tree = _Tree(job_id, at_s[0])
    for name, value in (facts or {}).items():
        tree.job.attributes[name] = _bounded(value)
    for event, at in zip(events, at_s, strict=True):
        tree.hear(event, at)
    return tree.closed(job_id, at_s[-1])


class _Tree:
    """Hears events one after the other."""

    def __init__(self, job_id: str, at_s: float) -> None:
        self.job = _Open("job", "job", None, at_s)
        self.job.told(job__id=job_id)
        self._all = [self.job]
        self._stage: _Open | None = None
        self._trials: dict[str, _Open] = {}
        self._asks: dict[str, _Open] = {}
        self._runs: dict[str, int] = defaultdict(int)
        self._alive_s = at_s

    def hear(self, event: Mapping[str, Any], at: float) -> None:
        """What an event says; one of a kind that has no span says nothing."""
        kind = event["kind"]
        # as a table, so that a new kind of event is one line and one method
        hears = {
            "state": self._state,
            "stage": self._stage_said,
            "stage_asked": self._asked,
            "stage_granted": self._answered,
            "stage_refused": self._answered,
            "stage_left": self._answered,
            "trial_started": self._started,
            "placed": self._placed,
            "engine_ready": self._ready,
            "probe": self._probe,
            "attempt_failed": self._attempt_failed,
            "trial": self._trial_ended,
            "teardown": self._teardown,
        }.get(kind)
        if hears is not None:
            hears(event, at)
        if kind not in _NO_SIGN_OF_LIFE:
            self._alive_s = at

    def closed(self, job_id: str, at: float) -> list[Span]:
        """Every span; what is open ends with the journal."""
        if self.job.end_s is None:
            self.job.told(job__state="running")
            for one in self._all[1:]:
                one.end(at)
            self.job.end(at)
        assert self.job.end_s is not None
        for one in self._all[1:]:  # a worker that outlived its driver may have written since
            one.end(max(self.job.end_s, one.start_s, at if one.parent is self.job else 0.0))
        self.job.end_s = max(one.end_s or 0.0 for one in self._all)
        return [
            Span(
                name=one.name,
                span_id=_span_id(job_id, one.path),
                parent_id=None if one.parent is None else _span_id(job_id, one.parent.path),
                start_s=round(one.start_s, 3),
                end_s=round(one.end_s or one.start_s, 3),
                attributes=dict(one.attributes),
                error=one.error,
            )
            for one in self._all
        ]

    def _open(self, name: str, path: str, parent: _Open, at: float) -> _Open:
        self._runs[path] += 1
        found = _Open(name, f"{path}#{self._runs[path]}", parent, max(at, parent.start_s))
        self._all.append(found)
        return found

    # -- the job and its stages

    def _state(self, event: Mapping[str, Any], at: float) -> None:
        state = event.get("state")
        if state in _ENDS:
            self._cut(f"the job was {state}" if state in _FAILED else None)
            self.job.end(at, event.get("message") if state in _FAILED else None)
            self.job.told(job__state=state, job__verdict=event.get("verdict"))
            return
        self._cut(_DIED)
        self.job.end_s, self.job.error = None, None  # it goes on
        self.job.attributes.pop("optikit.job.verdict", None)

    def _cut(self, error: str | None) -> None:
        """End what is open at the last sign of life."""
        for one in self._all[1:]:
            one.end(self._alive_s, error)
        self._trials, self._stage = {}, None

    def _stage_said(self, event: Mapping[str, Any], at: float) -> None:
        name, state = _text(event.get("stage")), event.get("state")
        if state == "running":
            if self._stage is not None:
                self._close_stage(at, _DIED)
            self._stage = self._open(f"stage {name}", f"stage/{_part(name)}", self.job, at)
            self._stage.told(stage__name=name, stage__run=self._runs[f"stage/{_part(name)}"])
            return
        if state == "skipped":
            return  # an earlier run of it has the time
        if self._stage is None:  # it ended before it could begin, in the queue
            began = max(self.job.start_s, at - _number(event.get("seconds")))
            self._stage = self._open(f"stage {name}", f"stage/{_part(name)}", self.job, began)
            self._stage.told(stage__name=name)
        self._stage.told(stage__state=state)
        failed = state == "failed"
        self._close_stage(at, event.get("error") or "failed" if failed else None)

    def _close_stage(self, at: float, error: object) -> None:
        stage = self._stage
        for one in self._all[1:]:
            if _within(one, stage) and one is not stage:
                one.end(at, None if error is None else "its stage ended before it")
        if stage is not None:
            stage.end(at, error)
        self._stage, self._trials = None, {}

    def _asked(self, event: Mapping[str, Any], at: float) -> None:
        key = _text(event.get("key"))
        need = event.get("need")
        wait = self._open("queue", f"queue/{_part(key)}", self.job, at)
        if isinstance(need, Mapping):
            wait.told(team=need.get("team"), devices=need.get("devices"), kind=need.get("kind"))
        self._asks[key] = wait

    def _answered(self, event: Mapping[str, Any], at: float) -> None:
        wait = self._asks.get(_text(event.get("key")))
        if wait is not None:
            wait.end(at, event.get("reason") if event["kind"] == "stage_refused" else None)

    def _teardown(self, event: Mapping[str, Any], at: float) -> None:
        if self._stage is None:
            return
        names = ("workers_s", "swept_s", "returned_s")
        took = sum(_number(event.get(name)) for name in names)
        began = max(self._stage.start_s, at - took)
        path = f"{self._stage.path}/teardown"
        self._open("teardown", path, self._stage, began).end(at)

    # -- trials

    def _trial(self, event: Mapping[str, Any], at: float) -> _Open:
        """The open one of that id; the line that said it began may be torn."""
        found = event.get("trial")
        name = _text(found.get("id") if isinstance(found, Mapping) else found)
        if name not in self._trials:
            self._trials[name] = self._open(
                "trial", f"trial/{_part(name)}", self._stage or self.job, at
            )
            self._trials[name].told(trial__id=name)
        return self._trials[name]

    def _started(self, event: Mapping[str, Any], at: float) -> None:
        self._trials.pop(_text(event.get("trial")), None)
        trial = self._trial(event, at)
        trial.told(trial__purpose=event.get("purpose"), trial__variant=event.get("variant"))

    def _placed(self, event: Mapping[str, Any], at: float) -> None:
        trial = self._trial(event, at)
        if trial.engine is not None:
            trial.engine.end(at, "the attempt failed")
        trial.starts += 1
        trial.engine = self._open("engine start", f"{trial.path}/engine", trial, at)
        trial.engine.told(trial__id=trial.attributes["optikit.trial.id"], attempt=trial.starts)
        if event.get("node"):
            trial.engine.attributes["host.name"] = _bounded(event["node"])
        trial.probed_s = None

    def _ready(self, event: Mapping[str, Any], at: float) -> None:
        trial = self._trial(event, at)
        if trial.engine is not None:
            trial.engine.told(engine__startup_s=event.get("startup_s"))
            trial.engine.end(at)
            trial.probed_s = trial.engine.end_s

    def _probe(self, event: Mapping[str, Any], at: float) -> None:
        trial, facts = self._trial(event, at), event.get("probe")
        facts = facts if isinstance(facts, Mapping) else {}
        measured = facts.get("measurement")
        if trial.probed_s is None:  # an older journal does not say when the engine was ready
            took = _number(measured.get("duration_s")) if isinstance(measured, Mapping) else 0.0
            trial.probed_s = max(trial.start_s, at - took)
            if trial.engine is not None:
                trial.engine.end(trial.probed_s)
                trial.probed_s = trial.engine.end_s
        trial.probes += 1
        probe = self._open("probe", f"{trial.path}/probe", trial, trial.probed_s or at)
        probe.told(
            trial__id=trial.attributes["optikit.trial.id"],
            probe__number=facts.get("number"),
            probe__phase=facts.get("phase"),
            probe__rate_rps=facts.get("rate_rps"),
            probe__concurrency=facts.get("concurrency"),
            probe__verdict=facts.get("verdict"),
            probe__reason=facts.get("reason"),
        )
        if isinstance(measured, Mapping):
            probe.told(
                probe__requests=measured.get("requests"), probe__failed=measured.get("failed")
            )
        probe.end(at)
        trial.probed_s = at

    def _attempt_failed(self, event: Mapping[str, Any], at: float) -> None:
        trial = self._trials.get(_text(event.get("what")).removeprefix("trial "))
        if trial is not None and trial.engine is not None:
            if trial.engine.end_s is None and event.get("cause"):
                trial.engine.attributes["error.type"] = _bounded(event["cause"])
            trial.engine.end(at, event.get("error") or "failed")

    def _trial_ended(self, event: Mapping[str, Any], at: float) -> None:
        found = event.get("trial")
        if not isinstance(found, Mapping):
            return
        trial = self._trial(event, at)
        failed, rate = found.get("state") == "failed", found.get("rate")
        rate = rate if isinstance(rate, Mapping) else {}
        serving = found.get("serving")
        serving = serving if isinstance(serving, Mapping) else {}
        trial.told(
            trial__state=found.get("state"),
            trial__purpose=found.get("purpose"),
            trial__variant=found.get("variant"),
            trial__attempts=found.get("attempts"),
            trial__outcome=rate.get("outcome"),
            trial__rate_rps=rate.get("rate_rps"),
            trial__fitness=found.get("fitness"),
            trial__requests=rate.get("requests"),
            serving__tensor_parallel=serving.get("tensor_parallel"),
            serving__data_parallel=serving.get("data_parallel"),
            serving__max_num_seqs=serving.get("max_num_seqs"),
        )
        error = (found.get("error") or "failed") if failed else None
        if failed:
            trial.attributes["error.type"] = _bounded(found.get("cause") or "crash")
        if trial.engine is not None:
            trial.engine.end(at, error)
        trial.end(at, error)
        self._trials.pop(_text(found.get("id")), None)


def _within(one: _Open, above: _Open | None) -> bool:
    found: _Open | None = one
    while found is not None and found is not above:
        found = found.parent
    return found is above and above is not None


def _part(name: str) -> str:
    """A name as one part of a path."""
    return _CUTS.sub("_", name)


def _span_id(job_id: str, path: str) -> str:
    return hashlib.sha256(f"optikit span {job_id} {path}".encode()).hexdigest()[:16]


def _number(value: object) -> float:
    """Seconds; 0 for what is no such figure."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    found = float(str(value)) if plain else 0.0
    return found if 0 <= found < math.inf else 0.0


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _bounded(value: object) -> Attribute:
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)
