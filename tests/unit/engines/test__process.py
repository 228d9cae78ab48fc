from __future__ import annotations

import io
import json
import urllib.error
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.engines import _process
from optikit.engines._process import RunningServer, _wait_until_ready, passed_on
from optikit.engines._vllm_log import LOG
from optikit.engines.base import Server
from optikit.engines.vllm import Vllm
from optikit.errors import EngineDied, EngineStartFailed, NoKernel, PortInUse
from optikit.spec.endpoint import Endpoint
from optikit.spec.serving import ServingConfig

PYTHON = Path("/opt/engine/bin/python")
ILLEGAL_FLAG = "api_server.py: error: unrecognized arguments: --no-such-flag"
NO_KERNEL = "RuntimeError: Unsupported CPU attention configuration: head_dim=16 isa=2"
CONTEXT = 48
SERVING = ServingConfig(max_model_len=CONTEXT)


def test_a_running_server_holds_the_protocol() -> None:
    server: type[Server] = RunningServer
    assert server is RunningServer


def test_no_secret_and_no_foreign_python_reaches_the_server() -> None:
    kept = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "LC_ALL": "C", "VLLM_USE_V1": "1"}
    dropped = {
        "HF_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "VLLM_API_KEY": "x", "MY_PATH": "x",
        "PYTHONPATH": "x", "RAY_ADDRESS": "x", "MLFLOW_TRACKING_PASSWORD": "x", "HTTP_PROXY": "x",
        "TORCH_ACCESS_TOKEN": "x", "LD_PRELOAD": "x",
    }  # fmt: skip
    assert passed_on({**kept, **dropped}, "VLLM") == kept


# ---- readiness


class Process:
    """Ends with ``code`` after ``looks`` looks at it."""

    def __init__(self, code: int | None = None, looks: int = 0) -> None:
        self.code, self.looks = code, looks

    def poll(self) -> int | None:
        self.looks -= 1
        return self.code if self.looks < 0 else None

    def wait(self, timeout: float) -> int | None:
        self.looks = 0
        return self.code


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(_process, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def running(tmp_path: Path, process: Process, log: str = "") -> RunningServer:
    path = tmp_path / "log"
    path.write_text("an older server: CUDA out of memory\n" + log)
    return RunningServer(
        endpoint=Endpoint(base_url="http://127.0.0.1:1", model="m", vocab=5, api_key="k"),
        command=("python",),
        process=process,  # type: ignore[arg-type]
        what="server of trial t03",
        log=path,
        log_start=len("an older server: CUDA out of memory\n"),
        reader=LOG,
    )


def answers(monkeypatch: pytest.MonkeyPatch, *steps: Any) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []
    left = list(steps)

    def post(endpoint: Endpoint, body: dict[str, Any], timeout_s: float) -> Any:
        asked.append(body)
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, Exception):
            raise step
        return step

    monkeypatch.setattr(_process, "_post", post)
    return asked


def http_error(code: int, text: str) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://x", code, "no", Message(), io.BytesIO(text.encode()))


def usage(tokens: int) -> dict[str, dict[str, int]]:
    return {"usage": {"completion_tokens": tokens}}


def test_ready_is_one_whole_completion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: list[float]
) -> None:
    asked = answers(monkeypatch, ConnectionRefusedError(), http_error(503, "loading"), usage(4))
    # a 503 says that the server is on its way
    _wait_until_ready(running(tmp_path, Process()), CONTEXT, 60.0, 60.0)
    assert len(asked) == 3
    assert asked[-1]["max_tokens"] == 4
    assert asked[-1]["ignore_eos"] is True
    assert all(0 <= token < 5 for token in asked[-1]["prompt"])


@given(st.integers(2, 40))
def test_the_first_request_fits_the_context(context: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asked = answers(patch, usage(min(4, context - 1)))
        server = RunningServer(
            Endpoint(base_url="http://x", model="m", vocab=512),
            (), Process(), "s", Path("log"), 0, LOG,  # type: ignore[arg-type]
        )  # fmt: skip
        _wait_until_ready(server, context, float("inf"), 60.0)
    assert len(asked[0]["prompt"]) >= 1
    assert len(asked[0]["prompt"]) + asked[0]["max_tokens"] <= context


def test_an_ended_process_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: list[float]
) -> None:
    answers(monkeypatch, ConnectionRefusedError())
    server = running(tmp_path, Process(code=2, looks=3), ILLEGAL_FLAG)
    with pytest.raises(EngineStartFailed, match=r"trial t03.*code 2.*illegal flag") as error:
        _wait_until_ready(server, CONTEXT, 600.0, 600.0)
    assert clock[0] < 2.0
    assert "older" not in str(error.value)
    assert error.value.cause == "illegal flag"


def test_a_refused_first_request_names_the_answer_and_the_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: list[float]
) -> None:
    answers(monkeypatch, http_error(500, "EngineCore encountered an issue"))
    server = running(tmp_path, Process(code=1, looks=9), NO_KERNEL)
    with pytest.raises(NoKernel, match=r"HTTP 500: EngineCore enc.*no kernel") as error:
        _wait_until_ready(server, CONTEXT, 600.0, 600.0)
    assert error.value.cause == "no kernel"


def test_a_short_answer_is_no_readiness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: list[float]
) -> None:
    answers(monkeypatch, usage(1))
    with pytest.raises(EngineStartFailed, match="asked for 4 tokens, the first answer has 1"):
        _wait_until_ready(running(tmp_path, Process()), CONTEXT, 600.0, 600.0)


def test_the_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: list[float]) -> None:
    answers(monkeypatch, ConnectionRefusedError())
    with pytest.raises(EngineStartFailed, match=r"within 30 s; likely cause: slow") as error:
        _wait_until_ready(running(tmp_path, Process()), CONTEXT, 30.0, 30.0)
    assert error.value.cause == "timeout"
    assert clock[0] == pytest.approx(30.0, abs=0.5)


def test_check_is_silent_while_it_runs_and_tells_the_end(tmp_path: Path) -> None:
    running(tmp_path, Process()).check()
    with pytest.raises(EngineDied, match=r"trial t03.*code 137.*killed \(SIGKILL\)") as error:
        running(tmp_path, Process(code=137)).check()
    assert error.value.cause == "out of memory"
    with pytest.raises(EngineDied) as error:
        running(tmp_path, Process(code=139)).check()
    assert error.value.cause == "crash"


def test_a_taken_port_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_process, "port_in_use", lambda port: True)
    with (
        pytest.raises(PortInUse, match="port 8123"),
        Vllm(PYTHON).serve(tmp_path, SERVING, "cpu", vocab=5, log=tmp_path / "log", port=8123),
    ):
        pytest.fail("it must not start")
    assert not (tmp_path / "log").exists()


def test_the_key_travels_in_the_header_and_not_in_the_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    class Opener:
        def open(self, request: Any, timeout: float) -> io.BytesIO:
            seen.append(request)
            return io.BytesIO(json.dumps(usage(4)).encode())

    monkeypatch.setattr("urllib.request.build_opener", lambda *handlers: Opener())
    endpoint = Endpoint(base_url="http://127.0.0.1:9", model="m", vocab=5, api_key="secret")
    assert _process._post(endpoint, {"a": 1}, 5.0) == usage(4)
    assert seen[0].full_url == "http://127.0.0.1:9/v1/completions"
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert b"secret" not in seen[0].data
