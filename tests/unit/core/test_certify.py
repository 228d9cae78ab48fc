from typing import Any

import pytest

from optikit.core.certify import certify
from optikit.core.plan import make_plan
from optikit.core.shape import shape_from_config
from optikit.errors import OptikitError
from optikit.flows import FLOWS
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.record import Certificate, QualityVerdict, Trial


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
    return make_plan(job, FLOWS.load(job.flow), shape_from_config(config, "t"), engine, recipe)


def probe(number: int, rate: float, verdict: str, phase: str = "open") -> dict[str, Any]:
    return {
        "number": number,
        "phase": phase,
        "rate_rps": rate,
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
            "quantiles": [],
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


def made(trial: Trial, verdict: str | None = None) -> Certificate:
    quality = verdict and QualityVerdict.parse(
        {"candidate_id": "c0", "verdict": verdict, "margin": 0.01, "reason": "", "tasks": ()}
    )
    return certify(
        plan(),
        trial,
        job_id="j1",
        created="2026-11-01T00:00:00+00:00",
        engine_version="0.32.0",
        command=["python", "-m", "server"],
        hardware={"cpu": "x"},
        quality=quality or None,
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
    assert certificate.seeds == (7,)
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
