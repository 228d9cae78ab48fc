"""What follows from each failure."""

from __future__ import annotations

import pytest

from optikit.core.retries import (
    ATTEMPTS,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Fate,
    cause_of,
    fate_of,
    pause_s,
)
from optikit.errors import (
    ArchiveError,
    BadInput,
    BudgetExceeded,
    Cancelled,
    DiskFull,
    DoesNotFit,
    EngineDied,
    EngineError,
    EngineStartFailed,
    NoKernel,
    OptikitError,
    PortInUse,
    StageFailed,
    WorkerDied,
)


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (WorkerDied("gone"), Fate.RETRY, Fate.TRIAL),
        (EngineDied("gone"), Fate.RETRY, Fate.TRIAL),
        (EngineDied("killed", cause="out of memory"), Fate.RETRY, Fate.TRIAL),
        (EngineError("odd"), Fate.RETRY, Fate.TRIAL),
        (EngineStartFailed("slow", cause="timeout"), Fate.RETRY, Fate.TRIAL),
        (EngineStartFailed("held", cause="occupied"), Fate.RETRY, Fate.TRIAL),
        (EngineStartFailed("no", cause="out of memory"), Fate.TRIAL, Fate.TRIAL),
        (EngineStartFailed("no", cause="illegal flag"), Fate.TRIAL, Fate.TRIAL),
        (NoKernel("no"), Fate.TRIAL, Fate.TRIAL),
        (PortInUse("taken"), Fate.JOB, Fate.JOB),
        (BadInput("no"), Fate.JOB, Fate.JOB),
        (DoesNotFit("no"), Fate.JOB, Fate.JOB),
        (ArchiveError("no"), Fate.JOB, Fate.JOB),
        (DiskFull("no"), Fate.JOB, Fate.JOB),
        (StageFailed("no"), Fate.JOB, Fate.JOB),
        (OptikitError("a library's own"), Fate.JOB, Fate.JOB),
        (ValueError("a bug"), Fate.JOB, Fate.JOB),
        (Cancelled("stop"), Fate.STOP, Fate.STOP),
        (KeyboardInterrupt(), Fate.STOP, Fate.STOP),
        (BudgetExceeded("spent"), Fate.STOP, Fate.STOP),
    ],
)
def test_each_error_has_one_fate(error: BaseException, first: Fate, last: Fate) -> None:
    """At the first attempt, and at the last one."""
    assert fate_of(error) is first
    assert fate_of(error, ATTEMPTS) is last


def test_a_worker_that_died_without_a_word_crashed() -> None:
    assert cause_of(WorkerDied("gone")) == "crash"
    assert cause_of(NoKernel("no")) == "no kernel"


def test_pauses_grow_to_a_bound_and_differ_between_tasks() -> None:
    """The same task waits the same time again: a seeded benchmark repeats itself."""
    for attempt in range(1, 12):
        most = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S)
        found = [pause_s(attempt, f"trial {number}") for number in range(50)]
        assert all(most / 2 <= seconds <= most for seconds in found)
        assert len(set(found)) > 20
    assert pause_s(1, "trial 1") == pause_s(1, "trial 1")
