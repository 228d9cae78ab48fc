from __future__ import annotations

import io
from pathlib import Path

import pytest

from optikit.adapters.output import RedactedStream, blot_out
from optikit.core.redact import GONE, Redactor

SECRET = "s3cret-s3cret"
REDACTOR = Redactor({SECRET: "X_KEY"})


def test_a_secret_in_several_writes_is_taken_out_of_its_line() -> None:
    inner = io.StringIO()
    stream = RedactedStream(inner, REDACTOR)
    for piece in ("a s3cret", "-s3c", "ret b\nnext ", SECRET, "\n", "end"):
        stream.write(piece)
    assert inner.getvalue() == f"a {GONE} b\nnext {GONE}\n"
    stream.flush()
    assert inner.getvalue().endswith("end")


def test_print_and_tracebacks_go_through_it() -> None:
    inner = io.StringIO()
    stream = RedactedStream(inner, REDACTOR)
    print("x", SECRET, file=stream)
    stream.writelines([f"{SECRET}\n", "y\n"])
    assert SECRET not in inner.getvalue()
    assert stream.writable()


def test_a_line_without_end_is_passed_on() -> None:
    inner = io.StringIO()
    RedactedStream(inner, REDACTOR).write("x" * 100_000)
    assert len(inner.getvalue()) == 100_000


@pytest.mark.parametrize("before", [0, 5, (1 << 20) - 6, 3 * (1 << 20)])
def test_a_secret_is_blotted_out_of_a_file_of_another_process(tmp_path: Path, before: int) -> None:
    log = tmp_path / "engine.log"
    content = b"." * before + SECRET.encode() + b" and " + SECRET.encode() + b"\nend"
    log.write_bytes(content)
    assert blot_out(SECRET, log) == 2
    assert log.read_bytes() == content.replace(SECRET.encode(), b"*" * len(SECRET))
    assert blot_out(SECRET, log) == 0


def test_what_was_there_before_is_not_looked_at(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(f"{SECRET}\n{SECRET}\n")
    assert blot_out(SECRET, log, len(SECRET) + 1) == 1
    assert log.read_text().startswith(SECRET)
    assert blot_out(SECRET, tmp_path / "none.log") == 0
