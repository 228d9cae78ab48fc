"""A log record as a line of JSON, such a line for a person, an engine's log as records. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

__all__ = [
    "FIELDS",
    "EngineRecord",
    "LogContext",
    "engine_records",
    "inside",
    "json_line",
    "readable",
    "summary_of_event",
]

FIELDS = ("job", "stage", "trial", "attempt", "trace_id", "span_id")
"""Where a record comes from; one that is not known is left out."""
LONGEST = 20_000
"""Characters of a message or an exception; of a longer one the beginning and the end stay."""
_OURS = '{"timestamp": "'
_RAY = re.compile(r"^(?:\x1b\[\d+m)?\((?:[^()]* )?pid=[^()]*\)(?:\x1b\[0m)? ")
_VLLM = re.compile(
    r"(?:\([\w -]+ pid=\d+\) )?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) "
    r"(?P<month>\d\d)-(?P<day>\d\d) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) "
    r"(?P<message>.*)",
    re.DOTALL,
)
_NESTED = ("trial", "probe", "record", "candidate")
_BROAD = 300


@dataclass(frozen=True)
class LogContext:
    """Where the records of a process come from. It pickles: workers get it with their task."""

    facts: Mapping[str, Any] = field(default_factory=dict)

    def plus(self, **facts: Any) -> LogContext:
        """With more facts; None leaves what was known."""
        told = {name: value for name, value in facts.items() if value is not None}
        return LogContext({**self.facts, **told})


def json_line(
    at_s: float,
    level: str,
    logger: str,
    message: str,
    facts: Mapping[str, Any],
    exception: str | None = None,
) -> str:
    """One record, without a line's end inside.

    Args:
        at_s: seconds since the epoch.
        facts: ``FIELDS`` and more; None is left out.
        exception: a traceback.

    >>> json_line(0.0, "INFO", "optikit", "it began", {"job": "j1", "trial": None})
    '{"timestamp": "1970-01-01T00:00:00.000Z", "level": "INFO", "logger": "optikit", \
"message": "it began", "job": "j1"}'
    """
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {"timestamp": at.replace("+00:00", "Z"), "level": level}
    line |= {"logger": logger, "message": _cut(message)}
    line |= {name: value for name, value in facts.items() if value is not None}
    if exception:
        line["exception"] = _cut(exception)
    return json.dumps(line, default=str)


def _cut(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}\n[...]\n{text[-half:]}"


def inside(line: str) -> tuple[str | None, str]:
    """Of a line that another process printed: our own record in it, if it is one, and the text.

    Ray puts a worker's name before each line.
    """
    text = _RAY.sub("", line)
    return (text, text) if _fields(text) is not None else (None, text)


def _fields(line: str) -> dict[str, Any] | None:
    if not line.startswith(_OURS):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and {"timestamp", "level", "logger", "message"} <= set(found)
    return found if whole else None


def readable(line: str) -> str:
    """A record for a person; what is none, stays as it is.

    >>> print(readable(json_line(0.0, "ERROR", "optikit", "no", {"trial": "t0"}, "Traceback:\\nX")))
    1970-01-01T00:00:00.000Z ERROR optikit [t0] no
    Traceback:
    X
    """
    found = _fields(line)
    if found is None:
        return line
    of = next((f" [{found[name]}]" for name in ("trial", "stage") if name in found), "")
    head = "{timestamp} {level} {logger}{of} {message}".format(of=of, **found)
    return f"{head}\n{found['exception']}" if "exception" in found else head


def summary_of_event(kind: str, facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """An event of a journal as a message, with the fields of its record.

    >>> summary_of_event("stage", {"stage": "tune", "state": "done", "seconds": 3.0})
    ('stage: stage=tune state=done seconds=3.0', {'event': 'stage', 'stage': 'tune'})
    """
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            if name in _NESTED:
                shown = ("id", "number", "phase", "verdict", "state", "stage", "error")
                flat |= {f"{name}.{key}": value[key] for key in shown if value.get(key) is not None}
        elif value is not None and not isinstance(value, list | tuple):
            flat[name] = value
    words = " ".join(f"{name}={str(value)[:_BROAD]}" for name, value in flat.items())
    of: dict[str, Any] = {"event": kind}
    if isinstance(flat.get("stage"), str):
        of["stage"] = flat["stage"]
    trial = flat.get("trial", flat.get("trial.id"))
    if isinstance(trial, str):
        of["trial"] = trial
    return f"{kind}: {words}" if words else kind, of


@dataclass(frozen=True)
class EngineRecord:
    """One thing that an engine said."""

    level: str
    message: str
    at_s: float | None
    """Since the epoch; None: it does not say when."""


def engine_records(text: str, now_s: float, zone_s: float) -> Iterator[EngineRecord]:
    """What vLLM's log says, a traceback or table with the line it follows.

    Args:
        now_s: the lines are not from later; they do not say the year.
        zone_s: seconds by which the machine's clock is ahead of UTC.
    """
    begun: re.Match[str] | None = None
    lines: list[str] = []

    def record() -> EngineRecord:
        message = "\n".join(lines)
        if begun is None:
            return EngineRecord("INFO", message, None)
        return EngineRecord(begun["level"], message, _when(begun, now_s, zone_s))

    for line in text.splitlines():
        found = _VLLM.match(line)
        if found is not None:
            if lines:
                yield record()
            begun, lines = found, [found["message"]]
        elif line.strip() or lines:
            lines.append(line)
    while lines and not lines[-1].strip():
        lines.pop()
    if lines:
        yield record()


def _when(found: re.Match[str], now_s: float, zone_s: float) -> float | None:
    zone = timezone(timedelta(seconds=zone_s))
    now = datetime.fromtimestamp(now_s, zone)
    parts = [int(found[name]) for name in ("month", "day", "hour", "minute", "second")]
    for year in (now.year, now.year - 1):
        try:
            at = datetime(year, parts[0], parts[1], parts[2], parts[3], parts[4], tzinfo=zone)
        except ValueError:
            continue  # 29 February
        if at <= now + timedelta(days=1):
            return at.timestamp()
    return None
