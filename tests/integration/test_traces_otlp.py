"""A job's trace at a real OTLP/HTTP receiver, at MLflow's own, and at one that is down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_mlflow_server import SPEC
from tests.mlflow_server import mlflow_server
from tests.otlp_receiver import Received, attributes_of, receiver

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

OPTIKIT = str(Path(sys.executable).with_name("optikit"))
TOKEN = "a-token-that-nobody-may-read"
HEADERS = f"authorization=Bearer%20{TOKEN},x-tenant=one"


def optikit(home: Path, settings: dict[str, str], *argv: str, code: int = 0) -> str:
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**os.environ, "OPTIKIT_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def submitted(home: Path, settings: dict[str, str]) -> Path:
    """Folder of a job that ended as done."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "job.yaml").write_text(yaml.safe_dump(SPEC))
    optikit(home, settings, "submit", str(home / "job.yaml"), "--pool", "inline")
    (job,) = (home / "jobs").iterdir()
    return job


def soon(look: Callable[[], Any], what: str, patience_s: float = 30.0) -> Any:
    until = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < until, f"{what}: not within {patience_s:g} s"
        time.sleep(0.2)
    return found


def events(job: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job / "journal.jsonl").read_text().splitlines()]


def must_be_the_trace(received: Received, job: Path) -> None:
    spans = {span.span_id: span for span in received.spans}
    assert len(spans) == len(received.spans) > 20
    (root,) = [span for span in spans.values() if not span.parent_span_id]
    facts = attributes_of(root)
    assert (root.name, facts["optikit.job.id"]) == ("job", job.name)
    assert facts["optikit.model"] == "qwen-2.5-7b:1"
    assert (facts["optikit.sku"], facts["optikit.job.state"]) == ("H100_2", "done")
    assert facts["optikit.simulated"] is True
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    for span in spans.values():
        if span.parent_span_id:
            above = spans[span.parent_span_id]
            assert above.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= above.end_time_unix_nano
    written = events(job)
    count = {kind: sum(e["kind"] == kind for e in written) for kind in ("probe", "trial", "placed")}
    names = [span.name for span in spans.values()]
    assert names.count("probe") == count["probe"] > 0
    assert names.count("trial") == count["trial"] > 0
    assert names.count("engine start") == count["placed"] > 0
    tune = next(span for span in spans.values() if span.name == "stage tune")
    began = next(e["t"] for e in written if e.get("stage") == "tune" and e["state"] == "running")
    assert tune.start_time_unix_nano == pytest.approx(began * 1e9, abs=5e7)


def test_a_job_sends_its_trace_at_its_end_and_again_when_asked(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with receiver() as received:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
            "OTEL_EXPORTER_OTLP_HEADERS": HEADERS,
        }
        job = submitted(home, settings)
        soon(lambda: received.requests, "the trace")
        must_be_the_trace(received, job)
        assert received.resource["service.name"] == "optikit"
        assert received.headers[0]["authorization"] == f"Bearer {TOKEN}"
        first = {span.span_id: span for span in received.spans}
        received.requests.clear()
        optikit(home, settings, "archive", "trace", "last")
        assert {span.span_id: span for span in received.spans} == first
        received.requests.clear()
        printed = json.loads(optikit(home, settings, "archive", "trace", "last", "--json"))
        assert received.requests == [], "printing sends nothing"
    (trace,) = printed
    assert {bytes.fromhex(span["span_id"]) for span in trace["spans"]} == set(first)
    assert {bytes.fromhex(trace["trace_id"])} == {span.trace_id for span in first.values()}
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


@contextlib.contextmanager
def bad_receiver(how: str) -> Iterator[str]:
    """Address of one that is not there, never answers, or refuses with a status."""
    with receiver() as received, socket.create_server(("127.0.0.1", 0)) as silent:
        if how.isdigit():
            received.status = int(how)
            yield received.url
        else:
            port = 9 if how == "nobody" else silent.getsockname()[1]
            yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("how", ["nobody", "silent", "503", "401"])
def test_a_receiver_that_is_down_or_refuses_costs_the_job_nothing(tmp_path: Path, how: str) -> None:
    with bad_receiver(how) as url:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": HEADERS}
        job = submitted(tmp_path / "home", settings)

        def failure() -> dict[str, Any] | None:
            return next((e for e in events(job) if e["kind"] == "trace_failed"), None)

        said = soon(failure, "the event")
        assert url in said["error"]
        assert TOKEN not in (job / "journal.jsonl").read_text()
        ended = next(e for e in events(job) if e["kind"] == "state" and "exit_code" in e)
        assert (ended["state"], ended["exit_code"]) == ("done", 0)
        assert said["t"] - ended["t"] < 10.0
        answer = optikit(tmp_path / "home", settings, "archive", "trace", "last", code=1)
        assert url in answer
        assert TOKEN not in answer


def test_nobody_named_sends_nothing_and_says_so_when_asked(tmp_path: Path) -> None:
    job = submitted(tmp_path / "home", {})
    assert not [e for e in events(job) if e["kind"] == "trace_failed"]
    answer = optikit(tmp_path / "home", {}, "archive", "trace", "last", code=2)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in answer


def posted(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_mlflows_own_receiver_holds_the_trace(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with mlflow_server(tmp_path / "server") as url:
        made = posted(f"{url}/api/2.0/mlflow/experiments/create", {"name": "traces"})
        experiment = made["experiment_id"]
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-mlflow-experiment-id={experiment}",
        }
        job = submitted(home, settings)

        def held() -> list[Any]:
            of = {"experiment_id": experiment}
            place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": of}
            asked = {"locations": [place], "max_results": 10}
            return list(posted(f"{url}/api/3.0/mlflow/traces/search", asked).get("traces", []))

        (trace,) = soon(held, "the trace at MLflow")
        (printed,) = json.loads(optikit(home, settings, "archive", "trace", "last", "--json"))
        assert trace["trace_id"].endswith(printed["trace_id"])
        assert trace["state"] == "OK"
        assert not [e for e in events(job) if e["kind"] == "trace_failed"]
        optikit(home, settings, "archive", "trace", "last")
        assert len(held()) == 1, "sent twice, there once"
        with contextlib.closing(sqlite3.connect(tmp_path / "server" / "server.db")) as database:
            rows = database.execute("SELECT span_id, parent_span_id, name FROM spans").fetchall()
    mine = [(span["span_id"], span["parent_id"], span["name"]) for span in printed["spans"]]
    assert sorted(rows) == sorted(mine, key=lambda row: row[0])
