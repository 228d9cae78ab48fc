"""The verbs benchmark, certificate and verify against a real HTTP server, on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optikit.cli import main
from tests.servers import Server, served

pytestmark = pytest.mark.integration

WORKLOAD = "prompt_tokens: 16\noutput_tokens: 4\nseed: 1\n"
SLO = ("--slo", "p60(e2e)<=150ms")
QUICK = ("--max-time", "60s", "--max-num-seqs", "6", "--vocab", "5000")
Bench = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def bench(optikit_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    workload = tmp_path / "w.yaml"
    workload.write_text(WORKLOAD)

    def run(url: str, *words: str) -> tuple[int, dict[str, Any], str]:
        code = main(
            ["benchmark", "--endpoint", url, "--workload", str(workload), "--json", *SLO, *words]
        )
        caught = capsys.readouterr()
        return code, json.loads(caught.out) if caught.out else {}, caught.err

    return run


def six_seats(**facts: Any) -> Server:
    """40 ms a request, six at a time: 150 requests/s."""
    return Server(first_s=0.01, token_s=0.01, slots=6, **facts)


def test_a_server_is_certified_and_the_certificate_verified(
    bench: Bench, optikit_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(six_seats(api_key="s3cret")) as endpoint:
        os.environ["OPTIKIT_TEST_KEY"] = "s3cret"
        try:
            code, facts, progress = bench(
                f"{endpoint.base_url}/v1/", *QUICK, "--api-key-env", "OPTIKIT_TEST_KEY"
            )
            assert (code, facts["verdict"]) == (0, "pass"), facts
            assert 75 < facts["rate_rps"] < 150
            assert facts["engine"] == "vllm 0.32.0"
            assert facts["model"] == "fake"
            assert "CERTIFY" in progress
            assert "s3cret" not in progress + json.dumps(facts)
            for file in Path(facts["archive"]).iterdir():
                assert b"s3cret" not in file.read_bytes()

            assert main(["certificate", "show", "last"]) == 0
            page = capsys.readouterr().out
            assert f"{facts['rate_rps']:.4g} req/s" in page
            assert endpoint.base_url in page

            words = ["verify", facts["id"], "--json", "--api-key-env", "OPTIKIT_TEST_KEY"]
            code = main(words)
            again = json.loads(capsys.readouterr().out)
            assert again["verdict"] in ("holds", "inconclusive"), again
            assert code == {"holds": 0, "inconclusive": 4}[again["verdict"]]
            assert again["bounds"][0]["now"]["value_ms"] > 40
        finally:
            del os.environ["OPTIKIT_TEST_KEY"]


def test_an_slo_that_cannot_be_met(bench: Bench) -> None:
    with served(six_seats()) as endpoint:
        code, facts, _ = bench(endpoint.base_url, *QUICK, "--slo", "p50(ttft)<=1ms")
    assert (code, facts["verdict"], facts["rate_rps"]) == (3, "infeasible", None)


def test_a_server_that_dies_midway(bench: Bench) -> None:
    server = six_seats()

    def stop_it() -> None:
        while server.seen < 60:
            time.sleep(0.01)
        server.fault = "500"  # until the socket is closed

    with served(server) as endpoint:
        thread = threading.Thread(target=stop_it)
        thread.start()
        code, facts, _ = bench(endpoint.base_url, *QUICK)
        thread.join()
    assert (code, facts["verdict"], facts["rate_rps"]) == (4, "inconclusive", None)
    assert "answered none" in facts["reason"]
    assert facts["probes"]
    assert Path(facts["certificate"]).is_file()


def test_ctrl_c_keeps_what_is_known(bench: Bench) -> None:
    server = six_seats()

    def interrupt() -> None:
        while server.seen < 60:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # tests that run in the background ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with served(server) as endpoint:
            thread = threading.Thread(target=interrupt)
            thread.start()
            code, facts, _ = bench(endpoint.base_url, *QUICK)
            thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, facts["verdict"], facts["reason"]) == (130, "inconclusive", "interrupted")
    assert facts["probes"]


@pytest.mark.parametrize(
    ("server", "words", "said"),
    [
        (Server(fault="no API"), (), "speaks no OpenAI API"),
        (Server(), ("--model", "fakes"), "serves no model 'fakes'; did you mean 'fake'?"),
        (Server(served=("a", "b")), (), "serves 2 models; name one with --model: a, b"),
        (Server(max_model_len=19), (), "longest request has 20 tokens"),
        (Server(api_key="k"), (), "asks for a key (HTTP 401)"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    bench: Bench, optikit_home: Path, server: Server, words: tuple[str, ...], said: str
) -> None:
    with served(server) as endpoint:
        code, facts, error = bench(endpoint.base_url, *words)
    assert (code, facts) == (2, {})
    assert said in error
    assert error.count("\n") == 1
    assert list(optikit_home.iterdir()) == []


def test_an_endpoint_that_is_down(bench: Bench) -> None:
    with socket.socket() as taken:  # bound, nobody listens
        taken.bind(("127.0.0.1", 0))
        code, _, error = bench(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert code == 2
    assert "connection refused; is the server running there?" in error


def test_a_server_that_refuses_the_fields_of_length(bench: Bench) -> None:
    with served(six_seats(fault="strict")) as endpoint:
        code, facts, _ = bench(endpoint.base_url, *QUICK)
    assert (code, facts["verdict"]) == (4, "inconclusive")
    assert "min_tokens" in facts["reason"]


def test_chat_with_texts(bench: Bench) -> None:
    with served(six_seats()) as endpoint:
        code, facts, _ = bench(
            endpoint.base_url, "--api", "chat", "--max-time", "3s", "--max-num-seqs", "6"
        )
    assert code in (0, 4), facts
    assert {line["verdict"] for line in facts["probes"]} & {"pass"}, facts
