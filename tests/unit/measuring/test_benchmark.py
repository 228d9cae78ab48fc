from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optikit.engines._endpoint import ServerFacts
from optikit.errors import BadInput, EngineDied, OptikitError
from optikit.measuring import benchmark
from optikit.measuring.benchmark import EndpointAsk, Measured, benchmark_endpoint
from optikit.measuring.certificates import read_certificate
from optikit.measuring.search import seconds
from optikit.spec.record import Probe
from tests.doubles import Queue

CAPACITY_RPS = 40.0
ASK: dict[str, Any] = {
    "endpoint": "http://10.0.0.1:8000/v1",
    "workload": {"prompt_tokens": 32, "output_tokens": 4, "seed": 3},
    "slo": ["p95(e2e) <= 300 ms"],
}


class Bench:
    """A benchmark whose server is a queue."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.queue = Queue()
        self.seen: list[Probe] = []
        self.notes: list[str] = []

    def load(self, name: str) -> Queue:
        return self.queue

    def __call__(self, **ask: Any) -> Measured:
        asked = EndpointAsk.parse(ASK | ask)
        return benchmark_endpoint(asked, self.home, self.seen.append, self.notes.append)

    @property
    def folder(self) -> Path:
        (found,) = (self.home / "measurements").iterdir()
        return found


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    monkeypatch.setattr(benchmark, "GENERATORS", bench)
    monkeypatch.setattr(benchmark, "look_at", lambda *a: ServerFacts("m", 512, "vllm", "0.32.0"))
    monkeypatch.setattr(benchmark, "what_it_says", lambda *a: {"block_size": "16"})
    monkeypatch.setattr(benchmark, "checker", lambda endpoint: lambda: None)
    monkeypatch.setattr(benchmark, "draw", lambda *a: [])
    return bench


def test_a_rate_is_found_archived_and_certified(bench: Bench) -> None:
    measured = bench()
    facts = measured.facts()
    assert (facts["verdict"], measured.exit_code) == ("pass", 0)
    assert 0.6 * CAPACITY_RPS < facts["rate_rps"] < CAPACITY_RPS
    low, high = facts["rate_interval_rps"]
    assert low < facts["estimate_rps"] < high
    assert facts["method"] == "adjusted"
    assert facts["requests"] == sum(line["requests"] for line in facts["probes"])
    keys = {"number", "phase", "rate_rps", "concurrency", "requests", "verdict", "reason"}
    assert {frozenset(line) for line in facts["probes"]} == {frozenset(keys)}
    assert [p.number for p in bench.seen] == [line["number"] for line in facts["probes"]]

    folder = bench.folder
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(facts))
    request = json.loads((folder / "request.json").read_text())
    assert (request["kind"], request["model"]) == ("benchmark", "m")
    assert request["endpoint"] == "http://10.0.0.1:8000"
    certificate = read_certificate(Path(facts["certificate"]))
    assert certificate.rate_rps == facts["rate_rps"]
    assert certificate.archive_digest is not None
    assert len(certificate.seeds) == len(set(certificate.seeds)) == len(facts["probes"])
    assert certificate.client["cores"]
    names = {f"probe-{line['number']:02d}.jsonl" for line in facts["probes"]}
    assert names == {path.name for path in folder.glob("probe-*.jsonl")}
    kinds = [event["kind"] for event in measured.archive.events()]
    assert kinds == ["begun", "server", *["probe"] * len(names), "ended"]


def test_the_same_seed_sends_the_same_requests(bench: Bench) -> None:
    one = bench()
    bench.queue = Queue()
    assert bench().certificate.archive_digest == one.certificate.archive_digest
    bench.queue = Queue()
    other = bench(workload=ASK["workload"] | {"seed": 4})
    assert other.certificate.archive_digest != one.certificate.archive_digest


def test_an_slo_that_nothing_holds(bench: Bench) -> None:
    measured = bench(slo=["p95(e2e) <= 50 ms"])
    facts = measured.facts()
    assert (facts["verdict"], facts["rate_rps"], measured.exit_code) == ("infeasible", None, 3)
    assert measured.certificate.status == "negative"


def test_a_server_that_dies_midway_is_inconclusive(bench: Bench) -> None:
    bench.queue = Queue(dies_after=4)
    measured = bench()
    facts = measured.facts()
    assert (facts["verdict"], facts["rate_rps"], measured.exit_code) == ("inconclusive", None, 4)
    assert "answered none" in facts["reason"]
    assert len(list(bench.folder.glob("probe-*.jsonl"))) == 5
    assert measured.certificate.outcome == "inconclusive"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [(KeyboardInterrupt(), 130, "interrupted"), (EngineDied("it is gone"), 4, "it is gone")],
)
def test_what_was_seen_is_kept(bench: Bench, error: BaseException, code: int, reason: str) -> None:
    bench.queue = Queue(dies_after=4, error=error)
    measured = bench()
    assert measured.exit_code == code
    facts = json.loads((bench.folder / "result.json").read_text())
    assert (facts["verdict"], facts["reason"]) == ("inconclusive", reason)
    assert len(facts["probes"]) == 4
    assert facts["interrupted"] is (code == 130)


def test_time_that_is_up_is_no_error(bench: Bench) -> None:
    facts = bench(method={"max_search_s": 2.0}).facts()
    assert facts["verdict"] == "inconclusive"
    assert "s are left" in facts["reason"]


def test_an_error_is_in_the_journal(bench: Bench) -> None:
    bench.queue = Queue(dies_after=1, error=BadInput("no prompts of 32 tokens"))
    with pytest.raises(BadInput, match="no prompts"):
        bench()
    last = (bench.folder / "journal.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["error"] == "no prompts of 32 tokens"


@pytest.mark.parametrize(
    "ask",
    [
        {"endpoint": "10.0.0.1:8000"},
        {"method": {"name": "guess"}},
        {"api": "chat", "prompts": "tokens"},
        {"api_key_env": "NO_SUCH_VARIABLE_HERE"},
        {"workload": {"trace": "no/such.csv"}},
        {"workload": {"output_tokens": 1}, "slo": ["p50(tpot) <= 1 s"]},
        {"workload": {"prompt_tokens": 500, "output_tokens": 13}},
    ],
)
def test_bad_input_leaves_no_trace(bench: Bench, ask: dict[str, Any]) -> None:
    with pytest.raises(OptikitError) as caught:
        bench(**ask)
    assert caught.value.exit_code == 2
    assert list(bench.home.iterdir()) == []


def test_the_key_is_written_nowhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "s3cret-key")
    facts = bench(api_key_env="SOME_KEY").facts()
    assert any("unencrypted" in note for note in bench.notes)
    assert "s3cret" not in json.dumps(facts)
    for file in bench.folder.iterdir():
        assert b"s3cret" not in file.read_bytes()


def test_an_unknown_vocabulary_is_said(bench: Bench) -> None:
    sent = bench(method={"max_search_s": 2.0}).certificate.sent_as
    assert sent is not None
    assert (sent.prompts, sent.vocab) == ("tokens", benchmark.DEFAULT_VOCAB)
    assert any("vocabulary" in note for note in bench.notes)
    bench.notes.clear()
    sent = bench(api="chat", method={"max_search_s": 2.0}).certificate.sent_as
    assert sent is not None
    assert (sent.api, sent.prompts, sent.vocab) == ("chat", "text", 0)
    assert bench.notes == []


@pytest.mark.parametrize("text", ["", "m", "-5s", "0", "ten", "inf", "nan", "5 days", "1h30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BadInput, match="write it as 90s, 10m or 1h"):
        seconds(text)
