"""Which candidates are made, and who goes on."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.candidates import choose, planned_candidates, predicted_request_s
from optikit.core.plan import make_plan
from optikit.flows import FLOWS
from optikit.spec.candidate import ArtifactRef, Candidate
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.quality import Divergence, Estimate, QualityVerdict
from tests.specs import ENGINE, RTN, SMALL

CALIBRATED = RTN.model_copy(
    update={"name": "int_w8a8", "needs_calibration": True, "default_samples": 256}
)
W4 = RTN.model_copy(
    update={
        "name": "int_w4a16",
        "scheme": "W4A16",
        "compute_dtype": "own",
        "block_bytes_per_parameter": 0.55,
    }
)
EVERY = ENGINE.model_copy(update={"serves": {"cpu": ("W8A8", "W4A16"), "gpu": ("W8A8", "W4A16")}})
MODEL = ArtifactRef(kind="model", digest="sha256:" + "a" * 64, path="/m", size_bytes=1)


LARGE = SMALL.model_copy(
    update={
        "layers": 32,
        "hidden": 4096,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "intermediate": 14336,
        "vocab": 32000,
        "max_context": 16384,
    }
)


def plan(
    sku: str = "CPU_2",
    prompt: int = 64,
    output: int = 128,
    shape: ModelShape = SMALL,
    **params: Any,
) -> Plan:
    recipes = [CALIBRATED, RTN, W4]
    job = OptimizationJob.parse(
        {
            "model": {"name": "m"},
            "dataset": {"path": "/d"},
            "compute": {"sku": sku},
            "workload": {"prompt_tokens": prompt, "output_tokens": output},
            "flow_params": {"recipe": [r.name for r in recipes], **params},
        }
    )
    return make_plan(job, FLOWS.load("quantize"), shape, EVERY, recipes)


def made(plan: Plan) -> list[Candidate]:
    return [
        Candidate(id=one.id, recipe=one.recipe, model=MODEL, seed=one.seed)
        for one in planned_candidates(plan)
    ]


def verdict(candidate: str, word: str, kl: float | None = None) -> QualityVerdict:
    one = Estimate(value=1.0, low=1.0, high=1.0)
    seen = None
    if kl is not None:
        far = Estimate(value=kl, low=kl, high=kl)
        seen = Divergence(
            documents=2, tokens=9, top_k=5, kl=far, top1_agreement=one, perplexity_ratio=one
        )
    return QualityVerdict.parse(
        {
            "candidate_id": candidate,
            "verdict": word,
            "margin": 0.01,
            "reason": "",
            "divergence": seen,
        }
    )


def test_only_recipes_that_draw_get_several_candidates_each_with_its_seed() -> None:
    found = planned_candidates(plan(num_compression_trials=3, calibration_seed=5))
    assert [(one.id, one.seed) for one in found] == [
        ("c0-int_w8a8", 5),
        ("c1-int_w8a8", 6),
        ("c2-int_w8a8", 7),
        ("c3-int_w8a8_rtn", 5),
        ("c4-int_w4a16", 5),
    ]


def test_kept_goes_before_cannot_tell_whatever_its_size() -> None:
    job = plan()
    words = ("kept", "cannot tell", "cannot tell")
    verdicts = [verdict(c.id, word) for c, word in zip(made(job), words, strict=True)]
    assert choose(job, made(job), verdicts).candidate == "c0-int_w8a8"


def test_where_no_speed_is_known_the_smaller_one_goes_on() -> None:
    job = plan()  # int8 on a CPU has no figure
    assert predicted_request_s(job, job.options[0]) is None
    found = choose(job, made(job), [verdict(c.id, "kept") for c in made(job)])
    assert found.candidate == "c2-int_w4a16"
    assert "size" in found.reason


def test_where_the_speed_is_known_the_faster_one_goes_on() -> None:
    """A long prompt is bound by FLOP/s, of which int8 has twice; a long answer by bytes read."""
    for prompt, output, expected in ((8000, 1, "c0-int_w8a8"), (16, 4000, "c2-int_w4a16")):
        job = plan("H100_1", prompt, output, shape=LARGE)
        found = choose(job, made(job), [verdict(c.id, "kept") for c in made(job)])
        assert found.candidate == expected, (prompt, output)
        assert "predicted time" in found.reason


def test_a_recipe_that_needs_two_devices_is_charged_for_both() -> None:
    job = plan("H100_8", 2000, 200, shape=LARGE)
    option = job.options[0]
    one, two = (
        predicted_request_s(
            job,
            option.model_copy(
                update={"serving": option.serving.model_copy(update={"tensor_parallel": degree})}
            ),
        )
        for degree in (1, 2)
    )
    assert one is not None
    assert two is not None
    assert two > one


def test_of_one_recipe_the_one_that_diverges_least_goes_on() -> None:
    job = plan(num_compression_trials=3)
    three = made(job)[:3]
    verdicts = [verdict(c.id, "kept", kl) for c, kl in zip(three, (0.3, 0.1, 0.2), strict=True)]
    assert choose(job, three, verdicts).candidate == "c1-int_w8a8"


@pytest.mark.parametrize("word", ["lost", "unsupported", "failed"])
def test_nobody_goes_on_where_nobody_kept_anything(word: str) -> None:
    job = plan()
    found = choose(job, made(job), [verdict(c.id, word) for c in made(job)])
    assert found.candidate is None


def test_a_candidate_that_was_not_made_cannot_go_on() -> None:
    job = plan()
    first, *rest = made(job)
    failed = first.model_copy(update={"model": None, "error": "out of memory"})
    verdicts = [verdict(first.id, "failed"), verdict(rest[0].id, "cannot tell")]
    assert choose(job, [failed, *rest], verdicts).candidate == rest[0].id
