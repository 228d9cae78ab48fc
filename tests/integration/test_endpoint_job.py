"""A whole job against a server that somebody else runs: a real HTTP server, on loopback."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from optikit.api import Submitter
from optikit.cli import main
from optikit.errors import BadInput
from optikit.measuring.certificates import find_certificate, read_certificate
from optikit.spec.job import OptimizationJob
from tests.servers import Server, served

pytestmark = pytest.mark.integration

KEY = "s3cret-of-the-endpoint"
VARIABLE = "ENDPOINT_OF_THE_TEST"


def job(url: str, max_search_s: float = 20.0, **engine: Any) -> OptimizationJob:
    return OptimizationJob.parse(
        {
            "flow": "benchmark",
            "model": {"name": "fake"},
            "engine": {"name": "openai", "url": url, "vocab": 5000, "max_num_seqs": 6, **engine},
            "compute": {"sku": "CPU_2"},
            "workload": {"prompt_tokens": 16, "output_tokens": 4, "seed": 1},
            # wide enough for a machine that others load: the search is tested elsewhere
            "slo": ["p60(e2e) <= 500ms"],
            "method": {"max_search_s": max_search_s, "max_lag_ms": 300},
        }
    )


def six_seats(**facts: Any) -> Server:
    """120 ms a request, six at a time: 50 requests/s."""
    return Server(first_s=0.03, token_s=0.03, slots=6, **facts)


def test_a_job_ends_with_a_certificate(
    optikit_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with served(six_seats(api_key=KEY, served=("other", "Org/Fake"))) as endpoint:
        key = {"env": VARIABLE}
        asked = job(f"{endpoint.base_url}/v1", 180.0, model="Org/Fake", key=key)
        result = Submitter(optikit_home).submit(asked)
        assert result.exit_code == 0, result.summary
        root = optikit_home / "jobs" / result.job_id
        certificate = read_certificate(find_certificate(result.job_id, optikit_home))

        assert certificate.source == "endpoint"
        assert (certificate.endpoint, certificate.model_name) == (endpoint.base_url, "Org/Fake")
        assert certificate.rate_rps is not None
        assert 15 < certificate.rate_rps < 50
        assert (certificate.serving, certificate.sku, certificate.command) == (None, None, ())
        assert certificate.hardware == {}
        assert certificate.model_digest is None
        assert "cores" in certificate.client
        assert (certificate.engine, certificate.engine_version) == ("vllm", "0.32.0")
        says = certificate.server_says
        assert (says["max_model_len"], says["enable_prefix_caching"]) == ("4096", "False")
        assert float(says["network_round_trip_ms"]) < 100
        assert "other" not in says
        assert certificate.sent_as is not None
        assert certificate.sent_as.vocab == 5000

        for file in (path for path in optikit_home.rglob("*") if path.is_file()):
            assert KEY.encode() not in file.read_bytes(), file
        events = [json.loads(line) for line in (root / "journal.jsonl").read_text().splitlines()]
        assert not [event for event in events if event["kind"] == "process_group"]

        capsys.readouterr()
        assert main(["certificate", "show", result.job_id]) == 0
        page = capsys.readouterr().out
        assert "somebody else's" in page
        assert "network_round_trip_ms" in page
        assert main(["archive", "check", result.job_id]) == 0, capsys.readouterr().out
        assert main(["trials", result.job_id]) == 0
        assert main(["show", result.job_id, "--json"]) == 0
        shown = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
        assert shown["certificate"] == str(root / "certificate.json")
        assert shown["device_hours"] == 0

        words = ["verify", result.job_id, "--json", "--api-key-env", VARIABLE, "--max-time", "20s"]
        assert main(words) in (0, 4), capsys.readouterr()


@pytest.mark.parametrize(
    ("server", "engine", "said"),
    [
        (Server(api_key=KEY), {}, "asks for a key (HTTP 401); name where it lies: engine.key"),
        (Server(api_key="other"), {"key": {"env": VARIABLE}}, "refused the key that was given"),
        (Server(), {"model": "fakes"}, "serves no model 'fakes'; did you mean 'fake'?"),
        (Server(fault="no API"), {}, "speaks no OpenAI API"),
        (Server(fault="no ids"), {}, "refuses prompts of token ids"),
        (Server(fault="strict"), {}, "engine.enforce_length: false"),
        (Server(fault="no usage"), {}, "does not say how many tokens"),
        (Server(max_model_len=19), {}, "longest request has 20 tokens"),
        (Server(), {"key": {"env": "NOT_SET_AT_ALL"}}, "NOT_SET_AT_ALL is not set"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(
    optikit_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    engine: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with served(server) as endpoint, pytest.raises(BadInput) as error:
        Submitter(optikit_home).submit(job(endpoint.base_url, **engine))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert KEY not in str(error.value)


def test_an_endpoint_that_is_down(optikit_home: Path) -> None:
    with socket.socket() as taken:  # bound, nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(BadInput, match=r"connection refused; is the server running there"):
            Submitter(optikit_home).submit(job(f"http://127.0.0.1:{taken.getsockname()[1]}"))


def test_a_server_that_takes_texts_alone(optikit_home: Path) -> None:
    with served(six_seats(fault="no ids")) as endpoint:
        result = Submitter(optikit_home).submit(job(endpoint.base_url, prompts="text"))
    certificate = read_certificate(find_certificate(result.job_id, optikit_home))
    assert certificate.sent_as is not None
    assert (certificate.sent_as.prompts, certificate.sent_as.vocab) == ("text", 0)
    assert certificate.requests > 0
