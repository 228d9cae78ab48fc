from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from optikit.engines._endpoint import ServerFacts
from optikit.errors import BadInput, EngineDied, UnsafeInput
from optikit.measuring import verify as module
from optikit.measuring.verify import Verified, VerifyAsk, verify
from optikit.spec.endpoint import Endpoint
from optikit.spec.recipe import EngineFacts
from optikit.spec.record import Certificate, Probe
from optikit.stores.contents import model_digest
from tests.doubles import Queue, certificate
from tests.unit.stages.publish_case import model_folder

HARDWARE = {"cpu": "a cpu", "cores": "2"}


class Engine:
    """Serves a queue; remembers what it was asked to serve."""

    facts = EngineFacts(name="vllm", serves={"cpu": ("none",)})

    def __init__(self) -> None:
        self.served: list[dict[str, Any]] = []

    def version(self) -> str:
        return "0.32.0"

    @contextlib.contextmanager
    def serve(self, model: Path, serving: Any, kind: str, **rest: Any) -> Iterator[Any]:
        self.served.append({"model": model, "kind": kind, **rest})
        endpoint = Endpoint(base_url="http://127.0.0.1:1", model="model", vocab=rest["vocab"])
        yield SimpleNamespace(endpoint=endpoint, check=lambda: None)


class Desk:
    """Verifies the certificate of a bundle whose server is a queue."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bundle = home / "bundle"
        model_folder(self.bundle / "model", b"a", licence=False)
        self.queue, self.engine = Queue(), Engine()
        self.seen: list[Probe] = []
        self.notes: list[str] = []

    def load(self, name: str) -> Any:
        return self.engine if name == "vllm" else self.queue

    def __call__(self, written: Certificate | None = None, **ask: Any) -> Verified:
        file = self.bundle / "certificate.json"
        found = written or self.certificate()
        file.write_text(found.model_dump_json())
        asked = VerifyAsk.parse({"certificate": str(file), **ask})
        return verify(asked, self.home, self.seen.append, self.notes.append)

    def certificate(self, **changes: Any) -> Certificate:
        digest = model_digest(self.bundle / "model")
        slo = {"slo": ["p95(e2e) <= 300 ms"]}
        return certificate(**{"model_digest": digest, "hardware": HARDWARE, **slo, **changes})

    @property
    def archived(self) -> list[Path]:
        root = self.home / "measurements"
        return sorted(root.iterdir()) if root.is_dir() else []


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path)
    monkeypatch.setattr(module, "ENGINES", desk)
    monkeypatch.setattr(module, "GENERATORS", desk)
    monkeypatch.setattr(module, "hardware", lambda: HARDWARE)
    monkeypatch.setattr(module, "look_at", lambda *a: ServerFacts("m", 512, "vllm", "0.32.0"))
    monkeypatch.setattr(module, "checker", lambda endpoint: lambda: None)
    monkeypatch.setattr(module, "draw", lambda *a: [])
    return desk


def test_a_rate_that_holds(desk: Desk) -> None:
    verified = desk()
    facts = verified.facts()
    assert (facts["verdict"], verified.exit_code) == ("holds", 0)
    assert facts["rate_rps"] == 20.0
    assert facts["rate_interval_rps"] == [19.5, 22.0]
    (row,) = facts["bounds"]
    assert (row["bound"], row["limit_ms"], row["allowed"]) == ("p95(e2e) <= 300 ms", 300.0, 0.05)
    assert row["then"]["value_ms"] == 410.0
    assert 100.0 <= row["now"]["low_ms"] <= row["now"]["value_ms"] <= row["now"]["high_ms"] < 300.0
    assert 0 <= row["now"]["share_low"] <= row["now"]["share_high"] < 0.05
    assert {p.phase for p in desk.seen} == {"warmup", "closed", "certify"}
    assert {p.rate_rps for p in desk.seen if p.phase == "certify"} == {20.0}
    assert facts["warnings"] == []
    (folder,) = desk.archived
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(facts))
    assert len(list(folder.glob("probe-*.jsonl"))) == len(desk.seen)
    assert not (folder / "certificate.json").exists()
    (served,) = desk.engine.served
    assert served["model"] == desk.bundle / "model"
    assert (served["kind"], served["vocab"]) == ("cpu", 500)


def test_seeds_are_new_each_time_and_said(desk: Desk) -> None:
    seeds = {desk().seed for _ in range(3)}
    assert len(seeds) == 3
    asked = {json.loads((folder / "request.json").read_text())["seed"] for folder in desk.archived}
    said = {int(note.split()[1].rstrip(":")) for note in desk.notes if note.startswith("seed")}
    assert asked == said == seeds
    used = {probe.seed for probe in desk.seen}
    assert len(used) == len(desk.seen)
    assert used.isdisjoint(certificate().seeds)


def test_a_rate_that_is_broken(desk: Desk) -> None:
    desk.queue = Queue(service_s=0.25, seats=4)  # 16 req/s
    verified = desk()
    assert (verified.verdict, verified.exit_code) == ("broken", 3)
    assert "does not hold" in verified.facts()["reason"]


def test_too_little_time_is_inconclusive(desk: Desk) -> None:
    verified = desk(max_search_s=1.5)
    assert (verified.verdict, verified.exit_code) == ("inconclusive", 4)
    assert verified.facts()["bounds"][0]["now"] is None


@pytest.mark.parametrize(
    ("error", "code"), [(EngineDied("it is gone"), 4), (KeyboardInterrupt(), 130)]
)
def test_a_server_that_dies_or_an_interruption(desk: Desk, error: BaseException, code: int) -> None:
    desk.queue = Queue(dies_after=2, error=error)
    verified = desk()
    assert (verified.verdict, verified.exit_code) == ("inconclusive", code)
    assert (desk.archived[0] / "result.json").exists()


def test_another_environment_is_warned_of(desk: Desk) -> None:
    written = desk.certificate(
        engine_version="0.31.0", hardware={"cpu": "a faster one"}, optikit_version="0.0.9"
    )
    warnings = desk(written).warnings
    assert [text.partition(":")[0] for text in warnings] == [
        "OptiKIT", "engine, version", "hardware, cpu", "hardware, cores",
    ]  # fmt: skip
    assert "was 'a faster one', is 'a cpu'" in warnings[2]
    assert [f"warning: {text}" for text in warnings] == desk.notes[1:]


def test_another_model_in_the_bundle_is_refused(desk: Desk) -> None:
    with pytest.raises(BadInput, match="is not the model that was certified"):
        desk(desk.certificate(model_digest="sha256:" + "0" * 64))
    assert desk.engine.served == []
    assert desk.archived == []


def test_a_certificate_without_its_bundle(desk: Desk, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    desk.bundle = lonely
    with pytest.raises(BadInput, match="keep the bundle together, or name a running server"):
        desk(certificate())


def test_a_certificate_that_claims_nothing(desk: Desk) -> None:
    written = desk.certificate(rate_rps=None, status="negative", reason="too slow")
    with pytest.raises(BadInput, match=r"claims no rate \(negative: too slow\)"):
        desk(written)


def test_a_running_server_in_place_of_the_bundles(desk: Desk) -> None:
    verified = desk(endpoint="http://10.0.0.1:8000/v1")
    facts = verified.facts()
    assert (facts["verdict"], facts["measured"]) == ("holds", "http://10.0.0.1:8000")
    assert desk.engine.served == []
    assert any("hardware is not known" in text for text in facts["warnings"])


def test_an_endpoints_certificate_asks_that_endpoint_again(desk: Desk) -> None:
    written = desk.certificate(
        source="endpoint",
        endpoint="http://10.0.0.1:8000",
        serving=None,
        sku=None,
        model_digest=None,
        hardware={},
        client=HARDWARE,
        engine_version="0.31.0",
    )
    facts = desk(written).facts()
    assert (facts["verdict"], facts["measured"]) == ("holds", "http://10.0.0.1:8000")
    assert facts["warnings"] == ["engine: was 'vllm 0.31.0', is 'vllm 0.32.0'"]


def test_a_simulated_certificate_is_of_what_was_simulated(desk: Desk) -> None:
    file = desk.bundle / "simulated.json"
    file.write_text("{}")
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    written = desk.certificate(simulated=True, model_digest=digest, hardware={"cpu": "on paper"})
    facts = desk(written).facts()
    assert facts["simulated"] is True
    assert facts["warnings"][0].startswith("SIMULATED")
    file.write_text("{ }")
    with pytest.raises(BadInput, match="is not the model that was certified"):
        desk(written)
    measured = desk(written, endpoint="http://10.0.0.1:8000").facts()
    assert measured["simulated"] is False
    assert any("these are measured" in text for text in measured["warnings"])


def test_another_trace_is_refused(desk: Desk, tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = "".join(f"{at},32,8\n" for at in range(40))
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    workload = {"trace": str(trace)}
    with pytest.raises(BadInput, match=r"holds other requests .* bring the original"):
        desk(desk.certificate(workload=workload, trace_digest="sha256:" + "0" * 64))
    assert desk.archived == []


def test_a_certificate_of_a_model_with_code_needs_the_word_of_whoever_verifies(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.bundle / "model" / "modeling_x.py").write_text("x = 1\n")
    digest = model_digest(desk.bundle / "model", code=True)
    serving = certificate().serving
    assert serving is not None
    trusting = serving.model_copy(update={"trust_remote_code": True})
    written = certificate(
        model_digest=digest, hardware=HARDWARE, slo=["p95(e2e) <= 300 ms"], serving=trusting
    )
    monkeypatch.delenv("OPTIKIT_TRUST_REMOTE_CODE", raising=False)
    with pytest.raises(UnsafeInput, match="OPTIKIT_TRUST_REMOTE_CODE=1"):
        desk(written)
    assert desk.engine.served == []
    monkeypatch.setenv("OPTIKIT_TRUST_REMOTE_CODE", "1")
    assert desk(written).verdict == "holds"
