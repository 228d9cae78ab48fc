from __future__ import annotations

from typing import Any

import pytest

from optikit.core.certify import certify_elsewhere
from optikit.core.elsewhere import UNKNOWN_VOCAB, sends_to, unseen_shape
from optikit.core.foresight import foresee
from optikit.core.plan import make_plan
from optikit.engines.openai import ENGINE
from optikit.engines.sglang import ENGINE as SGLANG
from optikit.engines.vllm import ENGINE as VLLM
from optikit.errors import BadInput, OptikitError, SpecError
from optikit.flows import FLOWS
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.record import RateResult, Trial
from tests.unit.core.test_plan import SMALL

URL = "https://llm.example.com/v1"


def job(**spec: Any) -> OptimizationJob:
    engine = {"name": "openai", "url": URL, **spec.pop("engine", {})}
    given = {"flow": "benchmark", "model": {"name": "m"}, "compute": {"sku": "CPU_2"}}
    return OptimizationJob.parse({**given, "engine": engine, **spec})


def plan(asked: OptimizationJob) -> Plan:
    return make_plan(asked, FLOWS.load(asked.flow), unseen_shape(asked, None), ENGINE.facts)


def test_nothing_is_fitted_held_or_started() -> None:
    found = plan(job(workload={"prompt_tokens": 100_000, "output_tokens": 500}))
    assert found.elsewhere
    assert not found.holds_devices
    assert found.options == ()
    assert (found.weight_bytes, found.trials) == (0, 0)
    assert found.serving.max_model_len == 100_500
    assert found.seats(found.serving) is None
    assert "somebody else's server" in found.warnings[0]
    assert Plan.parse(found.model_dump(mode="json")) == found


def test_what_is_known_of_the_server_is_used() -> None:
    found = plan(job(engine={"max_num_seqs": 12, "vocab": 900}))
    assert found.seats(found.serving) == 12
    assert found.shape.vocab == 900
    assert not [text for text in found.warnings if "vocabulary" in text]
    assert plan(job()).shape.vocab == UNKNOWN_VOCAB
    assert [text for text in plan(job()).warnings if "vocabulary" in text]


def test_how_requests_are_put() -> None:
    target = sends_to(job(engine={"model": "Org/Name"}))
    assert (target.base_url, target.model) == ("https://llm.example.com", "Org/Name")
    assert (target.prompts, target.vocab, target.api_key) == ("tokens", UNKNOWN_VOCAB, None)
    assert sends_to(job()).model == "m"
    chat = sends_to(job(engine={"api": "chat"}))
    assert (chat.prompts, chat.vocab) == ("text", 0)
    with pytest.raises(SpecError, match="chat API takes no token ids"):
        sends_to(job(engine={"api": "chat", "prompts": "tokens"}))


@pytest.mark.parametrize("flow", ["tune", "quantize", "quantize_and_tune", "evaluate"])
def test_a_server_of_somebody_elses_is_not_changed(flow: str) -> None:
    with pytest.raises(SpecError, match=r"measured, not changed\. Choose flow: benchmark"):
        plan(job(flow=flow, flow_params={"recipe": "fp8_dynamic"}))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"engine": {"url": None}}, "engine.url: .* no address was given"),
        ({"engine": {"url": "ftp://x"}}, "such as http://127.0.0.1:8000"),
        ({"engine": {"port": 8000}}, "engine.port: 8000 cannot be given"),
        ({"engine": {"flags": {"swap-space": 4}}}, "engine.flags: .* cannot be given"),
        ({"engine": {"hold_devices": True}}, "engine.hold_devices"),
        ({"flow_params": {"ablation": True}}, "flow_params.ablation"),
        ({"compute": {"sku": "H100_1"}}, "compute.sku: H100_1 holds a GPU.*Choose CPU_2"),
        ({"engine": {"url": "http://10.0.0.1:8000"}}, "engine.allow_http: true"),
        (
            {"engine": {"url": "http://llm.example.com", "key": {"env": "X"}}},
            "requests and the key unencrypted",
        ),
    ],
)
def test_what_cannot_be_is_one_error_of_the_plan(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan(job(**spec))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:1"])
def test_this_machine_may_be_asked_in_the_clear(url: str) -> None:
    assert plan(job(engine={"url": url})).elsewhere


def test_a_key_in_the_clear_is_worth_a_word() -> None:
    engine = {"url": "http://10.0.0.1", "allow_http": True, "key": {"env": "X"}}
    assert any("unencrypted" in text for text in plan(job(engine=engine)).warnings)
    del engine["key"]
    assert not any("unencrypted" in text for text in plan(job(engine=engine)).warnings)


@pytest.mark.parametrize("key", [{}, {"env": "A", "file": "b"}, {"env": "two words"}])
def test_a_key_is_named_once(key: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=r"engine\.key"):
        job(engine={"key": key})


def test_the_keys_of_an_endpoint_are_refused_with_another_engine() -> None:
    asked = job(engine={"name": "vllm"})
    with pytest.raises(SpecError, match=r"engine\.url: vllm starts servers of its own"):
        make_plan(asked, FLOWS.load("benchmark"), SMALL, VLLM.facts)


def test_nothing_is_predicted_of_it() -> None:
    with pytest.raises(BadInput, match="nothing can be predicted; measure it"):
        foresee(plan(job()))


def test_a_certificate_claims_nothing_that_was_not_seen() -> None:
    rate = RateResult(
        outcome="pass", rate_rps=3.0, preliminary=False, reason="r", method="m", requests=9
    )
    found = plan(job(engine={"model": "Org/Name", "vocab": 900}))
    trial = Trial(
        id="b0-baseline",
        number=0,
        purpose="benchmark",
        variant="baseline",
        state="complete",
        model_digest="sha256:of-the-address",
        serving=found.serving,
        rate=rate,
        server={"engine": "vllm", "version": "0.32.0", "block_size": "16"},
    )
    made = {"job_id": "j1", "created": "", "optikit_version": "1", "client": {"cores": "2"}}
    certificate = certify_elsewhere(found, trial, archive_digest=None, **made)  # type: ignore[arg-type]
    assert (certificate.source, certificate.status) == ("endpoint", "certified")
    assert (certificate.model_name, certificate.model_digest) == ("Org/Name", None)
    assert (certificate.engine, certificate.engine_version) == ("vllm", "0.32.0")
    assert certificate.server_says["block_size"] == "16"
    assert (certificate.serving, certificate.sku, certificate.hardware) == (None, None, {})
    assert certificate.sent_as is not None
    assert certificate.sent_as.vocab == 900
    with pytest.raises(OptikitError, match="no rate to certify"):
        certify_elsewhere(
            found,
            trial.model_copy(update={"rate": None}),
            archive_digest=None,
            **made,  # type: ignore[arg-type]
        )


# ---- what an engine that starts its servers says of itself


def test_an_engine_has_its_own_share_of_memory() -> None:
    asked = OptimizationJob.parse(
        {"flow": "tune", "model": {"name": "m"}, "compute": {"sku": "H100_1"}, "engine": "sglang"}
    )
    found = make_plan(asked, FLOWS.load("tune"), SMALL, SGLANG.facts)
    assert found.serving.gpu_memory_utilization == SGLANG.facts.memory_share == 0.84
    engine = {"name": "sglang", "flags": {"gpu_memory_utilization": 0.8}}
    asked = asked.model_copy(update={"engine": asked.engine.parse(engine)})
    found = make_plan(asked, FLOWS.load("tune"), SMALL, SGLANG.facts)
    assert found.serving.gpu_memory_utilization == 0.8


def test_a_measure_that_an_engine_cannot_give_is_refused() -> None:
    given = {
        "flow": "tune",
        "model": {"name": "m"},
        "compute": {"sku": "CPU_2"},
        "engine": "sglang",
    }
    with pytest.raises(SpecError, match="does not serve on cpu SKUs; choose a SKU of gpu"):
        make_plan(OptimizationJob.parse(given), FLOWS.load("tune"), SMALL, SGLANG.facts)
    asked = OptimizationJob.parse({**given, "flow": "quantize", "compute": {"sku": "H100_1"}})
    with pytest.raises(SpecError, match=r"quality\.divergence_documents: sglang.* set it to 0"):
        make_plan(asked, FLOWS.load("quantize"), SMALL, SGLANG.facts)
