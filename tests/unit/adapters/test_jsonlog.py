"""A process whose logs are JSON, without a process: streams and loggers as it would have them."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from optikit.adapters.jsonlog import (
    FORMAT,
    JsonStream,
    asked_for,
    engine_log_told,
    log_as_asked,
    tell_exception,
    within,
)
from optikit.core.logs import LogContext
from optikit.core.spans import trace_id_of
from optikit.errors import BadInput
from optikit.journal import Journaled
from tests.json_log import SECRET, Output


def test_what_is_printed_is_a_record_a_line(begin: Callable[[], Output]) -> None:
    output = begin()
    print("a", end="")
    print("b\n\nc")
    sys.stderr.write("10%\r20%\n")
    found = [(r["logger"], r["message"]) for r in output.records()]
    assert found == [("stdout", "ab"), ("stdout", "c"), ("stderr", "20%")]


def test_a_line_without_an_end_comes_out_at_the_end_or_when_it_is_too_long(
    begin: Callable[[], Output],
) -> None:
    output = begin()
    print("x" * 100_000, end="")
    assert len(output.records()) == 1
    print("rest", end="")
    assert isinstance(sys.stdout, JsonStream)
    sys.stdout.close()
    assert output.records()[-1]["message"] == "rest"


def test_a_workers_record_passes_as_it_is(begin: Callable[[], Output]) -> None:
    output = begin()
    print("one")
    record = output.getvalue().strip()
    print(f"(_Runner pid=3) {record}")
    assert output.getvalue().splitlines() == [record, record]


def test_records_carry_the_context_and_the_jobs_trace(begin: Callable[[], Output]) -> None:
    output = begin()
    log = logging.getLogger("optikit.some")
    with within(LogContext().plus(job="j1", stage="tune")):
        with within(LogContext().plus(job="j1", trial="t0", span_id="ab", attempt=2)):
            log.info("in")
        log.warning("%s is %d", "it", 3, extra={"trial": "t9"})
    log.info("out", extra={"job": "j2"})
    logging.getLogger("some.library").info("not heard")
    first, second, third = output.records()
    assert (first["trial"], first["span_id"], first["attempt"]) == ("t0", "ab", 2)
    assert (second["stage"], second["trial"], second["message"]) == ("tune", "t9", "it is 3")
    assert second["level"] == "WARNING"
    assert (third["job"], third["trace_id"]) == ("j2", trace_id_of("j2"))
    assert "stage" not in third


def test_no_secret_of_the_environment_is_in_it(begin: Callable[[], Output]) -> None:
    output = begin()
    print("token", SECRET)
    logging.getLogger("optikit").error("no %s", SECRET)
    assert json.dumps(SECRET)[1:-1] not in output.getvalue()
    assert [r["message"] for r in output.records()] == ["token [redacted]", "no [redacted]"]


def test_an_exception_is_a_field(begin: Callable[[], Output]) -> None:
    output = begin()
    try:
        raise ValueError("odd")
    except ValueError:
        tell_exception("the task x")
    (found,) = output.records()
    assert (found["level"], found["message"]) == ("ERROR", "the task x: odd")
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("ValueError: odd")
    sys.excepthook(KeyError, KeyError("k"), None)
    assert output.records()[-1]["exception"] == "KeyError: 'k'"


def test_warnings_are_records(begin: Callable[[], Output]) -> None:
    output = begin()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    assert "old" in output.records()[-1]["message"]
    assert output.records()[-1]["logger"] == "py.warnings"


def test_an_engines_log_becomes_records_when_it_has_ended(
    begin: Callable[[], Output], tmp_path: Path
) -> None:
    output = begin()
    log = tmp_path / "engine.log"
    with within(LogContext().plus(trial="t0")):
        with engine_log_told(log):
            log.write_text("WARNING 01-02 03:04:05 [a.py] x\n  y\n")
        with engine_log_told(tmp_path / "none.log"):
            pass
    said, missing = output.records()
    assert (said["logger"], said["level"], said["trial"]) == ("engine", "WARNING", "t0")
    assert said["message"] == "[a.py] x\n  y"
    assert "cannot be read" in missing["message"]


def test_what_a_journal_is_told_is_logged_with_its_job(
    begin: Callable[[], Output], tmp_path: Path
) -> None:
    output = begin()

    class Jobs(Journaled):
        root = tmp_path / "j7"

    Jobs.root.mkdir()
    Jobs().event("stage", stage="tune", state="running")
    (found,) = output.records()
    assert (found["job"], found["stage"], found["event"]) == ("j7", "tune", "stage")
    assert found["message"] == "stage: stage=tune state=running"


def test_text_is_what_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv(FORMAT, raising=False)
    before = sys.stdout
    log_as_asked()
    with within(None), engine_log_told(tmp_path / "none.log"):
        print("plain")
    assert sys.stdout is before
    try:
        raise ValueError("odd")
    except ValueError:
        tell_exception("the task x")
    told = capsys.readouterr()
    assert told.out == "plain\n"
    assert told.err.startswith("Traceback")


@pytest.mark.parametrize(("said", "found"), [("", False), ("text", False), ("json", True)])
def test_the_variable_says_which(monkeypatch: pytest.MonkeyPatch, said: str, found: bool) -> None:
    monkeypatch.setenv(FORMAT, said)
    assert asked_for() is found


def test_another_word_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORMAT, "JSON")
    with pytest.raises(BadInput, match="'JSON'; say text or json"):
        asked_for()
