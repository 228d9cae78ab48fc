"""Logs as lines of JSON where ``OPTIKIT_LOG_FORMAT=json`` asks for it.

What a process logs, prints, and raises becomes a record; so does what its libraries print. The
context (job, stage, trial) is the process's: it does one thing at a time.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from io import TextIOBase
from pathlib import Path
from types import TracebackType
from typing import TextIO

from optikit.core.logs import FIELDS, LogContext, engine_records, inside, json_line
from optikit.core.redact import Redactor, secrets_in
from optikit.core.spans import trace_id_of
from optikit.errors import BadInput

__all__ = [
    "FORMAT",
    "JsonFormat",
    "JsonStream",
    "asked_for",
    "engine_log_told",
    "log_as_asked",
    "tell_exception",
    "within",
]

FORMAT = "OPTIKIT_LOG_FORMAT"
_LONGEST = 64_000
_ENGINE_BYTES = 256_000
"""Of an engine's log that become records: the end of it."""
_context = [LogContext()]


def asked_for() -> bool:
    """Whether logs are to be JSON.

    Raises:
        BadInput: the variable says something else.
    """
    said = os.environ.get(FORMAT, "") or "text"
    if said not in ("text", "json"):
        raise BadInput(f"{FORMAT} is {said!r}; say text or json, or leave it out (text)")
    return said == "json"


class JsonFormat(logging.Formatter):
    """A record of Python's logging as a line; secrets of the environment are taken out."""

    def __init__(self) -> None:
        super().__init__()
        self._redactor = Redactor(secrets_in(os.environ))

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = {name: getattr(record, name, None) for name in (*FIELDS, "event")}
        facts = {**_context[-1].facts, **{k: v for k, v in told.items() if v is not None}}
        if "job" in facts:
            facts.setdefault("trace_id", trace_id_of(str(facts["job"])))
        exception = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        name, message = record.name, record.getMessage()
        line = json_line(record.created, record.levelname, name, message, facts, exception)
        return self._redactor.text(line)


class JsonStream(TextIOBase):
    """What is printed, a record a line; what is a record already (a worker's) passes."""

    def __init__(self, inner: TextIO, name: str, level: int) -> None:
        self.inner = inner
        self._name = name
        self._level = level
        self._waiting = ""
        self._format = JsonFormat()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        """Of the stream below."""
        return self.inner.encoding

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of the stream below; what is written there directly stays as it is."""
        return self.inner.fileno()

    def isatty(self) -> bool:
        """It is for a program."""
        return False

    def write(self, text: str) -> int:
        """Keep until the end of the line."""
        *whole, self._waiting = (self._waiting + text).split("\n")
        if len(self._waiting) > _LONGEST:
            whole.append(self._waiting)
            self._waiting = ""
        self._pass_on(whole)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Each as by ``write``."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """The stream below; a line that is not whole waits."""
        self.inner.flush()

    def close(self) -> None:
        """Pass on what waits for the end of its line."""
        self._pass_on([self._waiting])
        self._waiting = ""

    def _pass_on(self, lines: list[str]) -> None:
        for line in lines:
            record, text = inside(line.rpartition("\r")[2])  # of a progress bar, its last state
            if text.strip():
                whole = record or self._format.format(_record(self._name, self._level, text))
                self.inner.write(f"{whole}\n")
                self.inner.flush()


def log_as_asked() -> None:
    """From here on this process logs JSON, where the environment asks for that.

    A word that is neither text nor json is refused where a job is submitted or driven.
    """
    if os.environ.get(FORMAT) == "json":
        _set_up()


def _set_up() -> None:
    if isinstance(sys.stdout, JsonStream):
        return
    os.environ[FORMAT] = "json"  # for the processes of this one
    # Ray calls lines the same that differ in numbers alone; it reads this when it is imported
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(JsonFormat())
    root = logging.getLogger()
    root.handlers = [writer]
    logging.getLogger("optikit").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.stdout = JsonStream(sys.stdout, "stdout", logging.INFO)
    sys.stderr = JsonStream(sys.stderr, "stderr", logging.INFO)
    sys.excepthook = _uncaught
    atexit.register(sys.stdout.close)
    atexit.register(sys.stderr.close)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("optikit").critical("%s", error, exc_info=(kind, error, trace))


@contextlib.contextmanager
def within(context: LogContext | None) -> Iterator[None]:
    """Records of this process carry the context meanwhile; None: text, nothing is to be done."""
    if context is None:
        yield
        return
    _set_up()
    _context.append(context)
    try:
        yield
    finally:
        _context.pop()


def tell_exception(what: str) -> None:
    """Log the exception that is being dealt with: a record, or in text its traceback.

    Args:
        what: what failed.
    """
    if isinstance(sys.stderr, JsonStream):
        logging.getLogger("optikit").error("%s: %s", what, sys.exception(), exc_info=True)
    else:
        traceback.print_exc()


@contextlib.contextmanager
def engine_log_told(log: Path) -> Iterator[None]:
    """Where logs are JSON, an engine's own log becomes records when it has ended."""
    try:
        yield
    finally:
        if isinstance(sys.stderr, JsonStream):
            _tell_engine_log(log, sys.stderr.inner)


def _tell_engine_log(log: Path, stream: TextIO) -> None:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ENGINE_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        logging.getLogger("optikit").warning("%s cannot be read: %s", log, error)
        return
    form, now_s = JsonFormat(), time.time()
    for said in engine_records(text, now_s, time.localtime().tm_gmtoff):
        record = _record("engine", logging.getLevelName(said.level), said.message)
        record.created = now_s if said.at_s is None else said.at_s
        stream.write(f"{form.format(record)}\n")
    stream.flush()


def _record(name: str, level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, "%s", (text,), None)
