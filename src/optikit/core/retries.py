"""What follows from a failure: try again, or give up on the trial or on the job. Pure."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from optikit.errors import (
    ArchiveError,
    BadInput,
    BudgetExceeded,
    Cancelled,
    DiskFull,
    EngineError,
    EngineStartFailed,
    SourceError,
    StageFailed,
    WorkerDied,
)

__all__ = ["ATTEMPTS", "Fate", "cause_of", "fate_of", "pause_s"]

ATTEMPTS = 2
"""Of a task whose worker or engine died by no fault of what it was given."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Before the second attempt; doubled for each further one up to the longest, and then drawn
between half of it and the whole: what a busy machine broke is not started anew in step."""
_CONFIGURATION = ("out of memory", "illegal flag", "no kernel")
"""Causes that lie in what was started; it would fail the same way again."""
_STOPS = (Cancelled, BudgetExceeded, KeyboardInterrupt)
_JOB = (ArchiveError, BadInput, DiskFull, StageFailed)


class Fate(StrEnum):
    """What is done about a failed attempt."""

    RETRY = "retry"
    """Again on a new worker: a death that need not repeat itself."""
    STOP = "do not retry"
    """Nothing is broken: somebody, or the budget, ended the work."""
    TRIAL = "give up on this trial"
    """It is recorded as failed and the job goes on."""
    JOB = "give up on the job"
    """The next trial would meet it too, or nobody knows what it is."""


def fate_of(error: BaseException, attempt: int = 1, attempts: int = ATTEMPTS) -> Fate:
    """The fate of an attempt that ended with ``error``.

    ==========================================================  ======================
    error                                                       fate
    ==========================================================  ======================
    cancelled, budget used up                                   do not retry
    bad input, a port that somebody has, no room on the disk,
    an archive that cannot be written, a stage that gave up     give up on the job
    a start that failed by its configuration                    give up on this trial
    engine died, hung or started too slowly; worker died        retry; after the last
                                                                attempt: this trial
    a source or sink that does not answer                       retry; after the last
                                                                attempt: the job
    anything else, such as a library's own exception            give up on the job
    ==========================================================  ======================

    Args:
        attempt: its number, from 1.
        attempts: how many there may be.
    """
    if isinstance(error, _STOPS):
        return Fate.STOP
    if isinstance(error, _JOB):
        return Fate.JOB
    if isinstance(error, EngineStartFailed) and cause_of(error) in _CONFIGURATION:
        return Fate.TRIAL
    if isinstance(error, EngineError | WorkerDied):
        return Fate.RETRY if attempt < attempts else Fate.TRIAL
    if isinstance(error, SourceError) and attempt < attempts:
        return Fate.RETRY
    return Fate.JOB


def cause_of(error: BaseException) -> str:
    """The class of a failure; a worker that died without a word crashed."""
    return str(getattr(error, "cause", None) or "crash")


def pause_s(attempt: int, key: str) -> float:
    """Seconds between a failed attempt and the next one; the same for the same key.

    Args:
        attempt: number of the one that failed, from 1.
        key: what is tried, so that tasks that failed together do not start together.
    """
    most = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), LONGEST_PAUSE_S)
    draw = hashlib.sha256(f"{key} {attempt}".encode()).digest()[0] / 255
    return most * (0.5 + 0.5 * draw)
