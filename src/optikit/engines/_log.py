"""What an engine's log says of a failure: the likely cause, and lines worth reading. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NO_KERNEL", "Cause", "LogReader", "cause"]

NO_KERNEL = "no kernel"

_SIGKILLED = 128 + 9
_CRASH = ("crash", "the whole log tells more")
_SLOW = ("slow start", "raise engine.start_timeout_s if the log shows progress")
_KILLED = (
    "killed (SIGKILL)",
    "if nobody did it by hand, the kernel ran out of memory: look at `dmesg`",
)
_CLASSES = {
    "out of memory": "out of memory",
    "illegal flag": "illegal flag",
    "illegal value": "illegal flag",
    NO_KERNEL: NO_KERNEL,
}
"""What a tuner learns from; the rest says nothing about a configuration: ``crash``."""
_QUIET = ("INFO", "DEBUG", "WARNING")


@dataclass(frozen=True)
class Cause:
    """A kind of failure: ``pattern`` finds it in the log, ``advice`` says what to do next."""

    name: str
    pattern: re.Pattern[str]
    advice: str


def cause(name: str, pattern: str, advice: str) -> Cause:
    """A cause whose pattern takes capital and small letters for the same."""
    return Cause(name, re.compile(pattern, re.IGNORECASE), advice)


@dataclass(frozen=True)
class LogReader:
    """Reads one engine's logs."""

    causes: Sequence[Cause]
    """Looked for in this order; the first that is found is named."""
    stamp: re.Pattern[str]
    """What a line begins with before it says anything; ``level``: a group, where there is one."""
    noise: re.Pattern[str]
    """Lines that say nothing of the failure: stack frames, notices."""

    def _told(self, log: str) -> list[str]:
        """Lines that say something: no stamps, stack frames, notices; of repeats the last."""
        kept: dict[str, None] = {}
        for raw in log.splitlines():
            stamp = self.stamp.match(raw)
            level = stamp["level"] if stamp else None
            line = raw[stamp.end() :].rstrip() if stamp else raw
            if level in _QUIET or self.noise.match(line):
                continue
            kept.pop(line, None)
            kept[line] = None
        return list(kept)

    def useful_lines(self, log: str, count: int = 15, width: int = 400) -> list[str]:
        """The last ``count`` lines that say something, or the plain end where none does."""
        lines = self._told(log) or [line for line in log.splitlines() if line.strip()]
        return [line[:width] for line in lines[-count:]]

    def cause_of(self, log: str) -> Cause | None:
        """The likely cause of a failure, None where the log names none that is known."""
        text = "\n".join(self._told(log))
        return next((cause for cause in self.causes if cause.pattern.search(text)), None)

    def failure_of(self, log: str, code: int | None) -> str:
        """The class of a failure: out of memory, illegal flag, no kernel, timeout or crash.

        Args:
            code: the exit code, 128 + n after signal n; None: it still ran at its deadline.
        """
        found = self.cause_of(log)
        if found is not None:
            return _CLASSES.get(found.name, "crash")
        if code is None:
            return "timeout"
        return "out of memory" if code in (_SIGKILLED, -9) else "crash"

    def explain(self, log: str, code: int | None) -> str:
        """Likely cause, what to do, and the useful end of the log, as the end of a message.

        Args:
            log: what the server wrote.
            code: its exit code, 128 + n after signal n; None while it runs.
        """
        found = self.cause_of(log)
        if found is not None:
            name, advice = found.name, found.advice
        elif code is None:
            name, advice = _SLOW
        else:
            name, advice = _KILLED if code == _SIGKILLED else _CRASH
        lines = "\n".join(f"  | {line}" for line in self.useful_lines(log))
        return f"likely cause: {name}; {advice}" + (f"\n{lines}" if lines else "")
