"""Recorded requests from a file: the Azure and Mooncake traces, or three plain columns."""

from __future__ import annotations

import csv
import json
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from optikit.adapters.files import inside, open_inside
from optikit.errors import BadInput
from optikit.spec.workload import MAX_TOKENS, MAX_TRACE_ROWS, Trace

__all__ = ["MAX_TRACE_BYTES", "read_trace"]

MAX_TRACE_BYTES = 64 * 2**20
_MAX_LINE = 2**20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    found = float(value)
    if not math.isfinite(found):
        raise ValueError
    return found


def _clock_ns(value: Any) -> int:
    """ISO date and time to nanoseconds: Azure's seven digits are more than datetime keeps."""
    head, point, rest = str(value).strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if point and not digits:
        raise ValueError
    at = datetime.fromisoformat(head + rest[len(digits) :])
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return (at - _EPOCH) // timedelta(seconds=1) * 10**9 + int(digits[:9].ljust(9, "0"))


@dataclass(frozen=True)
class _Form:
    """One shape of trace: its columns, and how an arrival is written."""

    name: str
    arrival: str
    prompt: str
    output: str
    read: Callable[[Any], float]
    per_second: float
    kind: str

    @property
    def columns(self) -> tuple[str, str, str]:
        return self.arrival, self.prompt, self.output


_FORMS = (
    _Form(
        "Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", _clock_ns, 1e9, "a date and time"
    ),
    _Form(
        "Mooncake",
        "timestamp",
        "input_length",
        "output_length",
        _number,
        1e3,
        "milliseconds from 0 on",
    ),
    _Form(
        "plain", "arrival_s", "prompt_tokens", "output_tokens", _number, 1.0, "seconds from 0 on"
    ),
)


def read_trace(path: Path, roots: Sequence[str] | None = None) -> Trace:
    """The requests of a trace file, CSV with a header or JSON lines, told apart by their columns.

    Known columns: ``TIMESTAMP, ContextTokens, GeneratedTokens`` (Azure LLM inference traces),
    ``timestamp, input_length, output_length`` in milliseconds (Mooncake), and ``arrival_s,
    prompt_tokens, output_tokens``. Other columns are ignored. At most 64 MiB and 200,000 requests.

    Args:
        roots: folders below which the file must lie, links resolved; None: anywhere.

    Raises:
        BadInput: no such file, other columns, a value that is no number or out of range, arrivals
            out of order or all at one instant, too few or too many requests; with the line.
        UnsafeInput: the file leads outside the roots.
    """
    inside(path, roots, "workload.trace")
    if not path.is_file():
        raise BadInput(
            f"trace: asked {path}, which is no file here ({Path.cwd()}); name a CSV or JSON lines "
            f"file with the columns {_known()}"
        )
    try:
        with (
            open_inside(path, roots, "workload.trace") as content,
            TextIOWrapper(content, encoding="utf-8-sig", newline="") as file,
        ):
            return _read(path, file)
    except UnicodeDecodeError as error:
        raise BadInput(f"trace {path}: is no UTF-8 text ({error.reason}); unpack it?") from None
    except csv.Error as error:
        raise BadInput(f"trace {path}: is no readable CSV: {error}") from None
    except OSError as error:
        raise BadInput(f"trace {path}: cannot be read: {error.strerror}") from None


def _read(path: Path, file: TextIO) -> Trace:
    form: _Form | None = None
    raw: list[float] = []
    prompt: list[int] = []
    output: list[int] = []
    last = 0
    for line, row in _rows(path, file):
        form = form or _form(path, row)
        missing = [name for name in form.columns if row.get(name) is None]
        if missing:
            raise BadInput(f"trace {path} line {line}: has no {', '.join(missing)}")
        if len(raw) == MAX_TRACE_ROWS:
            raise BadInput(
                f"trace {path}: holds more than {MAX_TRACE_ROWS} requests; take a stretch of it "
                f"(head -n {MAX_TRACE_ROWS} {shlex.quote(str(path))} > part)"
            )
        raw.append(_arrival(path, line, form, row[form.arrival]))
        if len(raw) > 1 and raw[-1] < raw[-2]:
            raise BadInput(
                f"trace {path} line {line}: arrives at {row[form.arrival]}, before line {last}; "
                f"a trace is in order of arrival: sort its lines by {form.arrival} "
                f"({_how_to_sort(path, form, row)})"
            )
        prompt.append(_tokens(path, line, form.prompt, row[form.prompt]))
        output.append(_tokens(path, line, form.output, row[form.output]))
        last = line
    if len(raw) < 2:
        raise BadInput(f"trace {path}: holds {len(raw)} request(s); a trace needs at least 2")
    if form is None or raw[-1] == raw[0]:
        raise BadInput(
            f"trace {path}: all {len(raw)} requests arrive at one instant, so it has no rate; "
            "take a trace with arrival times, or give the lengths as a distribution"
        )
    return Trace(
        source=str(path),
        arrivals_s=tuple((at - raw[0]) / form.per_second for at in raw),
        prompt_tokens=tuple(prompt),
        output_tokens=tuple(output),
    )


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The file's lines, none of them and not their sum beyond bounds."""
    total = 0
    for line in iter(lambda: file.readline(_MAX_LINE), ""):
        total += len(line)
        if total > MAX_TRACE_BYTES:
            raise BadInput(
                f"trace {path}: is larger than {MAX_TRACE_BYTES // 2**20} MiB; take a stretch of it"
            )
        if len(line) == _MAX_LINE:
            raise BadInput(f"trace {path}: has a line of over {_MAX_LINE // 2**20} MiB; no trace")
        yield line


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and named values of every request."""
    lines = _lines(path, file)
    first = next(lines, "")
    if first.lstrip().startswith("{"):
        for number, line in _numbered(first, lines):
            if line.strip():
                yield number, _json_row(path, number, line)
        return
    reader = csv.reader((line for _, line in _numbered(first, lines)), strict=True)
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise BadInput(f"trace {path}: begins with an empty line; it needs the columns {_known()}")
    _form(path, dict.fromkeys(header))
    for cells in reader:
        if cells:
            yield reader.line_num, dict(zip(header, cells, strict=False))


def _numbered(first: str, rest: Iterator[str]) -> Iterator[tuple[int, str]]:
    yield 1, first
    yield from enumerate(rest, 2)


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"trace {path} line {number}: is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadInput(f"trace {path} line {number}: is no object but {type(row).__name__}")
    return row


def _known() -> str:
    return "; or ".join(f"{', '.join(form.columns)} ({form.name})" for form in _FORMS)


def _form(path: Path, row: dict[str, Any]) -> _Form:
    for form in _FORMS:
        if set(form.columns) <= set(row):
            return form
    seen = ", ".join(row)
    raise BadInput(f"trace {path} line 1: columns {seen:.120}; known columns: {_known()}")


def _arrival(path: Path, line: int, form: _Form, value: Any) -> float:
    try:
        found = form.read(value)
    except (ValueError, OverflowError):
        found = -1.0
    if found < 0:
        raise BadInput(
            f"trace {path} line {line}: {form.arrival} must be {form.kind}, found {value!r:.80}"
        )
    return found


def _tokens(path: Path, line: int, column: str, value: Any) -> int:
    try:
        found = _number(value)
        whole = found == int(found)
    except (ValueError, OverflowError):
        whole = False
    if not whole:
        raise BadInput(
            f"trace {path} line {line}: {column} must be a whole number of tokens, "
            f"found {value!r:.80}"
        )
    if not 1 <= found <= MAX_TOKENS:
        advice = "leave such requests out" if found == 0 else "correct or leave out the line"
        raise BadInput(
            f"trace {path} line {line}: {column} is {int(found)}; a request has 1 to {MAX_TOKENS} "
            f"tokens in and out: {advice}"
        )
    return int(found)


def _how_to_sort(path: Path, form: _Form, row: dict[str, Any]) -> str:
    name = shlex.quote(str(path))
    if not isinstance(row[form.arrival], str):  # a cell of a CSV is text
        return f"jq -sc 'sort_by(.{form.arrival})[]' {name} > sorted"
    place = list(row).index(form.arrival) + 1
    how = f"-k{place},{place}" if form.read is _clock_ns else f"-g -k{place},{place}"
    return f"(head -n 1 {name}; tail -n +2 {name} | sort -t, -s {how}) > sorted"
