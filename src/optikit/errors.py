"""Every error that OptiKIT raises on purpose.

::

    OptikitError                    one message: what was asked, what was found, what to do next
    |- BadInput                     exit 2; the user's words or files cannot be used
    |  |- SpecError                 a key or value of the job spec
    |  |- UnknownName               a plug-in, model or job that nobody registered
    |  |- DoesNotFit                the model or workload cannot stand on the SKU
    |  |- UnsafeInput               pickle weights, code, or a path that leaves its root
    |  `- DatasetError              no text field, too few samples, unreadable rows
    |- StageFailed                  exit 1; a stage gave up after its bounded attempts
    |  `- BudgetExceeded            the job's wall time or GPU-hours ran out
    |- EngineError                  a server that did not start, died, or refused
    |  |- EngineStartFailed         carries the last lines of the engine's log
    |  |  `- NoKernel               the engine cannot run this scheme on this device
    |  |- EngineDied                the process ended while it was being used
    |  `- PortInUse                 exit 2; somebody else listens on the asked port
    |- SourceError                  a source or sink elsewhere that does not answer, or breaks off
    |- DiskFull                     a file did not fit the disk; nothing of it is left
    |- WorkerDied                   an actor or process ended without an answer
    |- ClusterError                 a cluster that cannot be reached, or that refused
    |- ArchiveError                 the archive cannot be read or written
    `- Cancelled                    exit 130; a person or a signal asked to stop

All of them pickle, so that they cross actors and processes unchanged.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArchiveError",
    "BadInput",
    "BudgetExceeded",
    "Cancelled",
    "ClusterError",
    "DatasetError",
    "DiskFull",
    "DoesNotFit",
    "EngineDied",
    "EngineError",
    "EngineStartFailed",
    "NoKernel",
    "OptikitError",
    "PortInUse",
    "SourceError",
    "SpecError",
    "StageFailed",
    "UnknownName",
    "UnsafeInput",
    "WorkerDied",
    "nearest",
]


class OptikitError(Exception):
    """Base of the tree. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class BadInput(OptikitError):
    """What the user gave cannot be used; nothing was started."""

    exit_code = 2


class SpecError(BadInput):
    """A key or value of a spec is wrong; the message carries the key's path."""


class UnknownName(BadInput):
    """A name that is not registered; the message carries the nearest known ones."""


class DoesNotFit(BadInput):
    """Weights, KV cache or workload cannot stand on the SKU."""


class UnsafeInput(BadInput):
    """Input that would run code or leave its root."""


class DatasetError(BadInput):
    """The dataset has no usable text, or too little of it."""


class StageFailed(OptikitError):
    """A stage gave up after its bounded number of attempts."""


class BudgetExceeded(StageFailed):
    """The job's budget of wall time or GPU-hours is used up."""


class DiskFull(OptikitError):
    """What was to be written found no room; the message says where, how much, and what is lost."""


class SourceError(OptikitError):
    """A source or sink elsewhere did not answer, or broke off; the same may do later."""


class EngineError(OptikitError):
    """The serving engine did not do what was asked.

    ``cause`` is the class of the failure, from which a search learns: out of memory, illegal flag,
    no kernel, timeout or crash.
    """

    cause = "crash"

    def __init__(self, *args: object, cause: str | None = None) -> None:
        super().__init__(*args)
        if cause is not None:  # in __dict__, which pickle carries
            self.cause = cause


class EngineStartFailed(EngineError):
    """The server never became ready; the message ends with its last log lines."""


class NoKernel(EngineStartFailed):
    """The engine has no kernel for the checkpoint's scheme on this device; another try is vain."""

    cause = "no kernel"


class EngineDied(EngineError):
    """The server ended, or stopped answering, while it was being measured."""


class PortInUse(EngineError, BadInput):
    """The asked port is taken by another process."""

    exit_code = 2


class WorkerDied(OptikitError):
    """The actor or process that ran a task ended without an answer."""


class ClusterError(OptikitError):
    """A cluster that was named by its address did not answer as one, or refused."""


class ArchiveError(OptikitError):
    """The archive cannot be read or written."""


class Cancelled(OptikitError):
    """A person or a signal asked the job to stop."""

    exit_code = 130


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """The known words closest to ``word``, as the end of an error message.

    >>> nearest("int_w8a9", ["int_w8a8", "none"])
    "did you mean 'int_w8a8'? Known: int_w8a8, none"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=count, cutoff=0.6)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}Known: {', '.join(names) or '(none)'}"
