from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.space import Space, key_of
from optikit.core.transfer import BEST, JOBS, LEAST, MOST, Described, Earlier, alike, starts
from optikit.spec.model import ModelShape
from optikit.spec.record import Trial
from optikit.spec.serving import ServingConfig
from optikit.spec.slo import Slo
from optikit.spec.space import Dimension
from optikit.spec.workload import Workload

SHAPE = ModelShape(
    architecture="LlamaForCausalLM",
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=14336,
    vocab=128256,
    max_context=8192,
    source="test",
)
MINE = Described(
    shape=SHAPE,
    scheme="none",
    accelerator="H100",
    engine="vllm",
    workload=Workload.parse({"prompt_tokens": 1000, "output_tokens": 100}),
    slo=Slo.parse(["p95(e2e) <= 2 s"]),
)
SPACE = Space(
    (
        Dimension(name="tensor_parallel", values=(1, 2, 4), log=True),
        Dimension(name="max_num_seqs", values=(32, 128, 512), log=True),
        Dimension(name="kv_cache_dtype", values=("auto", "fp8")),
    ),
    lambda serving: "too large" if serving.max_num_seqs * serving.tensor_parallel > 1024 else None,
    ServingConfig(max_model_len=2048),
)


def workload(prompt: int, output: int) -> Workload:
    return Workload.parse({"prompt_tokens": prompt, "output_tokens": output})


def trial(rate: float | None, **serving: Any) -> Trial:
    """Of a rate in requests per second over all devices; None: infeasible at twice the limit."""
    failed = {
        "number": 0,
        "phase": "closed",
        "concurrency": 1,
        "verdict": "fail",
        "reason": "",
        "measurement": {
            "requests": 60,
            "completed": 60,
            "failed": 0,
            "offered_rps": None,
            "achieved_rps": 1.0,
            "output_tokens_per_s": 1.0,
            "total_tokens_per_s": 1.0,
            "duration_s": 60.0,
            "quantiles": [{"metric": "e2e", "percentile": 95, "value_ms": 4000.0}],
            "mean_e2e_ms": 4000.0,
        },
    }
    return Trial.parse(
        {
            "id": "t",
            "number": 0,
            "purpose": "tune",
            "variant": "baseline",
            "state": "complete",
            "model_digest": "",
            "serving": {"max_model_len": 4096, **serving},
            "rate": {
                "outcome": "infeasible" if rate is None else "pass",
                "rate_rps": rate,
                "preliminary": False,
                "reason": "",
                "method": "adjusted",
                "requests": 60,
                "probes": [failed] if rate is None else [],
            },
        }
    )


def test_a_job_is_wholly_like_itself() -> None:
    assert alike(MINE, MINE) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(MINE, accelerator="H200"),
        replace(MINE, accelerator=None),
        replace(MINE, engine="simulated"),
        replace(MINE, slo=Slo()),
        replace(MINE, slo=Slo.parse(["p95(ttft) <= 2 s"])),
        replace(MINE, slo=Slo.parse(["p95(e2e) <= 8 s"])),
        replace(MINE, workload=workload(4000, 100)),
        replace(MINE, workload=workload(1000, 20)),
        replace(MINE, shape=SHAPE.model_copy(update={"layers": 80, "hidden": 8192})),
    ],
)
def test_what_decides_the_best_configuration_must_be_near(other: Described) -> None:
    assert alike(MINE, other) == 0


@pytest.mark.parametrize(
    ("other", "least", "most"),
    [
        (replace(MINE, scheme="W8A8"), 0.5, 0.5),
        (replace(MINE, workload=workload(2000, 100)), 0.5, 0.5),
        (replace(MINE, slo=Slo.parse(["p99(e2e) <= 2 s"])), 0.7, 0.7),
        (replace(MINE, slo=Slo.parse(["p95(e2e) <= 4 s"])), 0.5, 0.5),
        (replace(MINE, shape=SHAPE.model_copy(update={"vocab": 32000})), 0.8, 0.95),
    ],
)
def test_what_differs_a_little_counts_less(other: Described, least: float, most: float) -> None:
    assert least - 1e-9 <= alike(MINE, other) <= most + 1e-9


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.floats(1, 1e6))
def test_likeness_is_a_share_and_the_same_both_ways(prompt: int, output: int, ms: float) -> None:
    other = replace(
        MINE, workload=workload(prompt, output), slo=Slo.parse([f"p95(e2e) <= {ms:.3f} ms"])
    )
    assert 0 <= alike(MINE, other) <= 1
    assert alike(MINE, other) == pytest.approx(alike(other, MINE))


def test_rates_become_shares_of_the_best_per_device() -> None:
    seen = Earlier(
        MINE,
        (
            trial(8.0, tensor_parallel=1, max_num_seqs=128),
            trial(8.0, tensor_parallel=2, max_num_seqs=128),
            trial(None, tensor_parallel=4, max_num_seqs=32),
        ),
    )
    best, half, none = starts(MINE, [seen], SPACE)
    assert best.point == {"tensor_parallel": 1, "max_num_seqs": 128, "kv_cache_dtype": "auto"}
    assert (best.share, half.share, none.share) == (1.0, 0.5, 0.0)
    assert {hint.weight for hint in (best, half, none)} == {MOST}, "never as sure as its own"
    assert none.margin == pytest.approx(-0.693, abs=1e-3)
    assert none.penalty == -1.0
    assert best.fitness(3.0, weight=0.1) == 3.0
    assert none.fitness(3.0, weight=0.1) == pytest.approx(-0.1)


def test_a_value_that_the_space_lacks_becomes_its_neighbour() -> None:
    seen = Earlier(
        MINE,
        (
            trial(4.0, max_num_seqs=256),  # by factors as near to 128 as to 512
            trial(3.0, max_num_seqs=700),
            trial(2.0, max_num_seqs=2048),  # far outside
            trial(1.0, max_num_seqs=24, tensor_parallel=8),
        ),
    )
    found = [hint.point["max_num_seqs"] for hint in starts(MINE, [seen], SPACE)]
    assert found == [128, 512]


def test_what_may_not_be_started_here_is_left_out() -> None:
    seen = Earlier(MINE, (trial(8.0, tensor_parallel=4, max_num_seqs=512), trial(1.0)))
    found = starts(MINE, [seen], SPACE)
    assert [(h.point["tensor_parallel"], h.share) for h in found] == [(1, 0.5)]


def test_the_best_of_each_degree_and_the_worst_are_among_the_few() -> None:
    of_one = [trial(9 - seqs / 1000, max_num_seqs=seqs, kv_cache_dtype=kv)
              for seqs in (32, 128, 512) for kv in ("auto", "fp8")]  # fmt: skip
    of_two = [trial(2.0 - seqs / 1000, max_num_seqs=seqs, tensor_parallel=2)
              for seqs in (32, 128)]  # fmt: skip
    found = starts(MINE, [Earlier(MINE, (*of_two, *of_one))], SPACE)
    assert [hint.point["tensor_parallel"] for hint in found] == [1] * BEST + [2, 2]
    assert min(hint.share for hint in found) == found[-1].share
    assert found[-1].point["max_num_seqs"] == 128


def test_the_jobs_most_alike_speak_first_and_few_of_them() -> None:
    def seen(prompt: int, seqs: int) -> Earlier:
        return Earlier(
            replace(MINE, workload=workload(prompt, 100)), (trial(1.0, max_num_seqs=seqs),)
        )

    far, near, same = seen(1900, 32), seen(1200, 128), seen(1000, 512)
    found = starts(MINE, [far, near, same], SPACE)
    assert [hint.point["max_num_seqs"] for hint in found] == [512, 128, 32]
    assert found[0].weight > found[1].weight > found[2].weight >= LEAST
    unlike = seen(3900, 32)
    assert starts(MINE, [unlike], SPACE) == ()
    again = starts(MINE, [same, near, far, *[seen(1950, 512)] * 5], SPACE)
    assert len({key_of(hint.point) for hint in again}) == len(again) == JOBS


def test_a_job_in_which_nothing_held_says_nothing() -> None:
    failed = trial(1.0).model_copy(update={"state": "failed", "rate": None})
    assert starts(MINE, [Earlier(MINE, (trial(None), failed))], SPACE) == ()
    assert starts(MINE, [], SPACE) == ()
