from typing import Any

import pytest

from optikit.core.certify import certify, certify_endpoint, measurement_at_rate
from optikit.core.plan import make_plan
from optikit.core.shape import shape_from_config
from optikit.errors import OptikitError
from optikit.flows import FLOWS
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice, OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.record import Certificate, RateResult, Trial
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload


def plan() -> Plan:
    config = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 256,
        "max_position_embeddings": 2048,
    }
    recipe = RecipeFacts(
        name="int_w8a8",
        summary="",
        scheme="W8A8",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=1.0,
        compute_dtype="int8",
    )
    job = OptimizationJob.parse(
        {"model": {"name": "m"}, "compute": {"sku": "CPU_2"}, "workload": {"seed": 7}}
    )
    engine = EngineFacts(name="vllm", serves={"cpu": ("none", "W8A8")})
    return make_plan(job, FLOWS.load(job.flow), shape_from_config(config, "t"), engine, [recipe])


LAG = {"metric": "lag", "percentile": 99.0, "value_ms": 0.4}


def probe(number: int, rate: float, verdict: str, phase: str = "open") -> dict[str, Any]:
    return {
        "number": number,
        "phase": phase,
        "rate_rps": rate,
        "seed": 100 + number,
        "verdict": verdict,
        "reason": "",
        "measurement": {
            "requests": 60,
            "completed": 60,
            "failed": 0,
            "offered_rps": rate,
            "achieved_rps": rate,
            "output_tokens_per_s": 1.0,
            "total_tokens_per_s": 1.0,
            "duration_s": float(number),
            "quantiles": [LAG],
            "mean_e2e_ms": 1.0,
        },
    }


def trial(variant: str = "compressed", devices: int = 2, **rate: Any) -> Trial:
    facts = {
        "outcome": "pass",
        "rate_rps": 4.0,
        "rate_low_rps": 4.0,
        "rate_high_rps": 5.0,
        "preliminary": False,
        "reason": "held",
        "method": "doubling",
        "requests": 240,
        "requests_at_rate": 60,
        "probes": [probe(1, 2.0, "pass"), probe(2, 4.0, "pass"), probe(3, 5.0, "fail")],
        **rate,
    }
    return Trial.parse(
        {
            "id": "t01",
            "number": 1,
            "purpose": "tune",
            "variant": variant,
            "state": "complete",
            "model_digest": "sha256:x",
            "serving": {"max_model_len": 64, "tensor_parallel": devices},
            "rate": facts,
        }
    )


def made(trial: Trial, verdict: str | None = None, **facts: Any) -> Certificate:
    quality = verdict and QualityVerdict.parse(
        {"candidate_id": "c0", "verdict": verdict, "margin": 0.01, "reason": "", "tasks": ()}
    )
    return certify(
        plan(),
        trial,
        job_id="j1",
        created="2026-11-01T00:00:00+00:00",
        optikit_version="0.1.0",
        engine_version="0.32.0",
        command=["python", "-m", "server"],
        hardware={"cpu": "x"},
        archive_digest="sha256:raw",
        quality=quality or None,
        **facts,
    )


def test_a_certificate_names_what_was_measured_on_what() -> None:
    certificate = made(trial(), "kept")
    assert certificate.status == "certified"
    assert (certificate.rate_rps, certificate.rate_per_device_rps) == (4.0, 2.0)
    assert (certificate.rate_low_rps, certificate.rate_high_rps) == (4.0, 5.0)
    assert certificate.measurement is not None
    assert certificate.measurement.duration_s == 2.0  # the probe at 4.0, none of the others
    assert certificate.model_digest == "sha256:x"
    assert certificate.recipe == "int_w8a8"
    assert certificate.seeds == (101, 102, 103)
    assert [line.verdict for line in certificate.probes] == ["pass", "pass", "fail"]
    assert certificate.client_lag is not None
    assert certificate.client_lag.value_ms == 0.4
    assert (certificate.requests, certificate.requests_at_rate) == (240, 60)
    assert certificate.method.name == "adjusted"  # as the job asked
    assert certificate.archive_digest == "sha256:raw"
    assert not certificate.simulated
    assert certificate.sent_as is not None
    assert certificate.sent_as.vocab == 256
    assert certificate.command == ("python", "-m", "server")
    assert Certificate.parse(certificate.model_dump(mode="json")) == certificate


@pytest.mark.parametrize(
    ("rate", "quality", "status"),
    [
        ({}, None, "certified"),
        ({"preliminary": True}, "kept", "preliminary"),
        ({}, "cannot tell", "certified"),
        ({}, "lost", "negative"),
        ({}, "unsupported", "negative"),
        ({"outcome": "infeasible", "rate_rps": None, "preliminary": True}, "kept", "negative"),
        ({"outcome": "inconclusive", "rate_rps": None}, "kept", "preliminary"),
    ],
)
def test_status(rate: dict[str, Any], quality: str | None, status: str) -> None:
    assert made(trial(**rate), quality).status == status


def test_a_negative_certificate_claims_no_rate() -> None:
    certificate = made(trial(outcome="infeasible", rate_rps=None, reason="too slow"))
    assert certificate.rate_rps is None
    assert certificate.rate_per_device_rps is None
    assert certificate.measurement is None
    assert certificate.reason == "too slow"


def test_the_uncompressed_model_has_no_recipe() -> None:
    assert made(trial(variant="baseline")).recipe == "none"


def test_a_trial_without_a_rate_cannot_be_certified() -> None:
    failed = trial().model_copy(update={"rate": None, "error": "engine died"})
    with pytest.raises(OptikitError, match=r"t01 has no rate to certify.*engine died"):
        made(failed)


def test_a_simulated_engine_is_said_to_be_one() -> None:
    assert made(trial(), simulated=True).simulated


def test_the_certifying_probe_speaks_for_the_rate() -> None:
    probes = [probe(1, 4.0, "pass", "certify"), probe(2, 4.0, "pass", "open")]
    found = trial(probes=probes).rate
    assert found is not None
    measured = measurement_at_rate(found)
    assert measured is not None
    assert measured.duration_s == 1.0


def of_endpoint(**rate: Any) -> Certificate:
    found = trial(**rate).rate
    assert found is not None
    workload = Workload.parse({"trace": "t.csv", "arrivals": "trace"})
    trace = Trace(source="t.csv", arrivals_s=(0, 1), prompt_tokens=(3, 4), output_tokens=(2, 2))
    endpoint = Endpoint(base_url="http://h:8000/v1", model="m", vocab=9, api_key="s3cret")
    return certify_endpoint(
        RateResult.parse(found),
        endpoint,
        workload,
        Slo.parse(["p95(e2e) <= 1 s"]),
        MethodChoice(name="doubling"),
        measurement_id="m1",
        created="2026-11-01T00:00:00+00:00",
        optikit_version="0.1.0",
        engine="vllm",
        engine_version="0.32.0",
        client={"cpu": "y"},
        archive_digest=None,
        trace=trace,
    )


def test_a_certificate_of_an_endpoint_states_what_can_be_seen_from_here() -> None:
    certificate = of_endpoint()
    assert (certificate.source, certificate.endpoint) == ("endpoint", "http://h:8000")
    assert (certificate.model_name, certificate.model_digest) == ("m", None)
    assert (certificate.serving, certificate.hardware, certificate.sku) == (None, {}, None)
    assert certificate.client == {"cpu": "y"}
    assert (certificate.rate_rps, certificate.rate_per_device_rps) == (4.0, None)
    assert certificate.trace_digest is not None
    assert certificate.method.name == "doubling"
    assert certificate.sent_as is not None
    assert certificate.sent_as.vocab == 9
    assert "s3cret" not in certificate.model_dump_json()


def test_an_endpoint_that_holds_nothing_gets_a_negative_certificate() -> None:
    certificate = of_endpoint(outcome="infeasible", rate_rps=None)
    assert (certificate.status, certificate.rate_rps) == ("negative", None)
