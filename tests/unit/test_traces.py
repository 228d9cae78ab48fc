"""A job's trace from its archive, and what becomes of one that cannot be sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit import runner, traces
from optikit.archive import JobArchive
from optikit.core.spans import trace_id_of
from optikit.errors import BadInput, OptikitError
from optikit.spec.queue import Ticket
from optikit.traces import send_trace, tell_trace, trace_of, traces_of
from tests.specs import small_plan

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobArchive:
    monkeypatch.delenv(ENDPOINT, raising=False)
    return JobArchive.create(tmp_path, small_plan(flow="benchmark"), {})


def test_the_jobs_span_says_what_it_was_of(archive: JobArchive) -> None:
    archive.enqueue(Ticket(team="search", since_s=1.0))
    archive.event("state", state="running", pid=1)
    archive.event("state", state="done", exit_code=0, verdict="pass", message="")
    plan = archive.plan()
    found = trace_of(archive)
    assert found.trace_id == trace_id_of(archive.job_id)
    (span,) = found.spans
    assert span.attributes == {
        "optikit.job.id": archive.job_id,
        "optikit.job.state": "done",
        "optikit.job.verdict": "pass",
        "optikit.flow": "benchmark",
        "optikit.model": f"{plan.job.model.name}:{plan.job.model.version}",
        "optikit.sku": plan.job.compute.sku.value,
        "optikit.engine": plan.job.engine.name,
        "optikit.recipe": "none",
        "optikit.simulated": plan.simulated,
        "optikit.team": "search",
    }
    assert traces_of([archive.job_id], archive.home) == [found]
    plain = found.plain()
    assert plain["spans"][0]["attributes"]["optikit.team"] == "search"


def test_without_a_receiver_nothing_is_sent_or_said(archive: JobArchive) -> None:
    with pytest.raises(BadInput, match=f"set {ENDPOINT}"):
        send_trace(archive)
    tell_trace(archive)
    assert not archive.of_kind("trace_failed")


def test_a_trace_that_is_not_taken_is_an_event_without_the_headers(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OptikitError("refused Bearer secret-token")

    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret-token")
    monkeypatch.setattr(traces, "send", refuse)
    tell_trace(archive)
    (event,) = archive.of_kind("trace_failed")
    assert event["error"].startswith("refused")
    assert "secret" not in archive.journal.read_text()


def test_a_bug_on_the_way_costs_the_job_nothing(
    archive: JobArchive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: JobArchive) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(runner, "tell_trace", broken)
    runner._tell(archive)
    assert "a bug" in capsys.readouterr().err
