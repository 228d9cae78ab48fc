"""The predictor: the simulated engine's answer, and what trials teach it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from optikit.core.load import plan_load
from optikit.core.predict import TEARDOWN_S, Predictor, search_s
from optikit.core.space import Point, Space, why_not
from optikit.core.steptimes import ASSUMPTIONS, StepTimes, roofline
from optikit.errors import DoesNotFit
from optikit.loadgen.simulated import server_of
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import SimulatedReplica
from optikit.spec.sku import ResourceSKU
from optikit.spec.slo import Slo
from optikit.spec.space import Dimension
from optikit.spec.workload import Workload
from optikit.stores.shapes import shipped_shape
from tests.unit.core.test_steptimes import recipe

SKU = ResourceSKU.H100_8.facts
WORK = Workload.parse({"prompt_tokens": 1200, "output_tokens": 80})
SLO = Slo.parse(["p95(e2e) <= 500 ms"])
DEFAULT = ServingConfig(max_model_len=1472)
DIMENSIONS = (
    Dimension(name="tensor_parallel", values=(1, 2, 4), log=True),
    Dimension(name="max_num_seqs", values=(16, 256), log=True),
    Dimension(name="max_num_batched_tokens", values=(2048, 8192), log=True),
    Dimension(name="block_size", values=(16, 32), log=True),
    Dimension(name="data_parallel", values=(1, 2), log=True),
)


@dataclass(frozen=True)
class Seen:
    """What a trial showed."""

    state: str = "complete"
    rate_per_device: float | None = None
    margin: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None


def shape(name: str = "qwen-2.5-7b") -> Any:
    found = shipped_shape(name)
    assert found is not None
    return found


def space(model: str = "qwen-2.5-7b") -> Space:
    def refuse(serving: ServingConfig) -> str | None:
        return why_not(shape(model), None, SKU, serving)

    return Space(DIMENSIONS, refuse, DEFAULT)


def predictor(
    slo: Slo = SLO, model: str = "qwen-2.5-7b", start_s: float = 100.0, **more: Any
) -> Predictor:
    return Predictor(shape(model), None, SKU, WORK, slo, space(model), start_s=start_s, **more)


def at(tp: int = 2, **more: Any) -> dict[str, Any]:
    return {"tensor_parallel": tp, "max_num_seqs": 256, "max_num_batched_tokens": 8192, **more}


def slower(compute: float = 1.0, memory: float = 1.0) -> Any:
    """A device whose figures differ from the data sheet's."""
    sku = SKU.model_copy(
        update={
            "bandwidth_bytes_per_s": SKU.bandwidth_bytes_per_s / memory,
            "flops_per_s": {k: v / compute for k, v in SKU.flops_per_s.items()},
        }
    )

    def times(serving: ServingConfig) -> StepTimes:
        found = roofline(shape(), None, sku, serving)
        return replace(found, step_s=found.step_s * memory, seq_s=found.seq_s * memory)

    return times


def trial(truth: Predictor, point: Point) -> Seen:
    """What another predictor's world shows."""
    told = truth.predict(point)
    rate = told.rate_per_device if told.rate_per_device > 0 else None
    return Seen("complete", rate, told.margin, told.ttft_ms, told.tpot_ms)


def test_it_is_what_the_simulated_engine_answers() -> None:
    told = predictor().predict(at())
    serving = space().serving(at())
    server = server_of(SimulatedReplica(shape=shape(), recipe=None, sku=SKU, serving=serving))

    def share_over(rate: float) -> float:
        load = plan_load(WORK, rate, 8000, 4, before=500, after=500)
        part = server.run(load).timings.measured()
        return float(np.mean(part.end_s - part.sent_s > 0.5))

    assert share_over(0.9 * told.rate_rps) < 0.05 < share_over(1.1 * told.rate_rps)
    assert told.rate_per_device == pytest.approx(told.rate_rps / 2)
    assert told.margin == pytest.approx(math.log(500 / told.e2e_ms), abs=0.01)


def test_replicas_multiply_the_rate_and_not_the_rate_of_a_device() -> None:
    one, two = (predictor().predict(at(data_parallel=n)) for n in (1, 2))
    assert two.rate_rps == pytest.approx(2 * one.rate_rps)
    assert two.rate_per_device == pytest.approx(one.rate_per_device)


def test_what_the_simulation_does_not_know_changes_nothing() -> None:
    prior = predictor()
    assert prior.predict(at(block_size=16)) == prior.predict(at(block_size=32))


def test_few_seats_hurt_throughput_and_more_memory_helps_it() -> None:
    prior = predictor(Slo.parse([]))
    assert prior.predict(at(max_num_seqs=4)).rate_rps < prior.predict(at()).rate_rps / 2
    cramped, roomy = (
        predictor(Slo.parse([]), "llama-3-70b").predict(at(tp=4, gpu_memory_utilization=share))
        for share in (0.6, 0.95)
    )
    assert cramped.rate_rps < roomy.rate_rps


def test_without_a_limit_the_margin_has_none() -> None:
    assert predictor(Slo.parse([])).predict(at()).margin == math.inf


def test_what_cannot_stand_costs_its_start() -> None:
    told = predictor(model="llama-3-70b").predict(at(tp=1))
    assert (told.rate_rps, told.margin) == (0.0, -math.inf)
    assert told.trial_s == 100.0 + TEARDOWN_S


def test_what_misses_the_limit_alone_holds_no_rate() -> None:
    told = predictor(Slo.parse(["p95(e2e) <= 300 ms"])).predict(at(tp=1))
    assert told.rate_rps == 0
    assert -1 < told.margin < 0


def test_a_search_takes_as_long_as_its_requests() -> None:
    told = predictor().predict(at())
    assert told.trial_s == pytest.approx(105 + search_s(told.rate_rps, told.e2e_ms))
    assert search_s(10.0, 500.0) == pytest.approx(10 + 300)
    assert search_s(0.0, 500.0) == pytest.approx(10)
    assert search_s(0.01, 500.0) == 3600
    own = predictor(start_s=lambda serving: 7.0 * serving.tensor_parallel)  # type: ignore[arg-type]
    assert own.predict(at()).trial_s == pytest.approx(told.trial_s - 100 + 14)


def test_its_source_is_that_of_the_step_times() -> None:
    assert ASSUMPTIONS in predictor().source


def test_a_dtype_that_the_device_lacks_is_said_at_once() -> None:
    fp8 = recipe("fp8", "FP8_DYNAMIC")
    a100 = ResourceSKU.A100_8.facts
    with pytest.raises(DoesNotFit, match="no fp8 arithmetic"):
        Predictor(shape(), fp8, a100, WORK, SLO, space(), start_s=1.0)


# ---- learning


def test_asking_teaches_nothing_and_a_failed_trial_neither() -> None:
    prior = predictor()
    before = prior.predict(at())
    assert prior.predict(at()) == before
    prior.learn(at(tp=1), Seen(state="failed"))
    prior.learn(at(tp=4), Seen(state="pruned"))
    assert prior.predict(at()) == before


@pytest.mark.parametrize(("compute", "memory"), [(1.5, 1.0), (1.0, 1.4), (1.4, 0.75)])
def test_latencies_of_one_trial_correct_the_steps_of_all(compute: float, memory: float) -> None:
    truth = predictor(step_times=slower(compute, memory))
    prior = predictor()
    points = [at(tp, max_num_seqs=seats) for tp in (2, 4) for seats in (16, 256)]

    def off() -> float:
        """Mean error of what holds a rate in truth; a rate that is not seen counts 1."""
        found = []
        for point in points:
            wanted, told = truth.predict(point).rate_rps, prior.predict(point).rate_rps
            if wanted > 0:
                found.append(abs(math.log(told / wanted)) if told > 0 else 1.0)
        return float(np.mean(found))

    before = off()
    seen = trial(truth, at(2))
    prior.learn(at(2), replace(seen, rate_per_device=None, margin=None))
    assert off() < 0.5 * before
    prior.learn(at(4), trial(truth, at(4)))
    prior.learn(at(2), seen)
    assert off() < 0.35 * before


def test_a_measured_margin_moves_rate_and_latency_where_steps_are_not_known() -> None:
    prior = predictor()
    before, other = prior.predict(at()), prior.predict(at(tp=4))
    prior.learn(at(), Seen(margin=before.margin - 0.2))
    after = prior.predict(at())
    assert after.margin == pytest.approx(before.margin - 0.2, abs=0.02)
    assert after.rate_rps < before.rate_rps
    assert after.e2e_ms > before.e2e_ms
    assert prior.predict(at(tp=4)).margin < other.margin


def test_measured_rates_move_rates() -> None:
    prior = predictor()
    points = [at(seqs) for seqs in (1, 2, 4)]
    before = [prior.predict(point).rate_per_device for point in points]
    for point, rate in zip(points[1:], before[1:], strict=True):
        prior.learn(point, Seen(rate_per_device=0.8 * rate))
    for point, rate in zip(points[1:], before[1:], strict=True):
        assert prior.predict(point).rate_per_device == pytest.approx(0.8 * rate, rel=0.05)
    assert prior.predict(at(max_num_seqs=16)).rate_per_device < before[1]


def test_the_last_word_on_a_point_counts_once() -> None:
    one, many = predictor(), predictor()
    one.learn(at(), Seen(rate_per_device=5.0))
    for rate in (1.0, 9.0, 5.0):
        many.learn(at(), Seen(rate_per_device=rate))
    assert one.predict(at(max_num_seqs=16)) == many.predict(at(max_num_seqs=16))


def test_the_order_of_trials_does_not_matter() -> None:
    truth = predictor(step_times=slower(1.3, 0.9))
    points = [at(2), at(4), at(2, max_num_seqs=16)]
    one, two = predictor(), predictor()
    for point in points:
        one.learn(point, trial(truth, point))
    for point in reversed(points):
        two.learn(point, trial(truth, point))
    assert one.predict(at(4)).rate_rps == pytest.approx(two.predict(at(4)).rate_rps, rel=1e-9)


def test_anew_it_knows_nothing() -> None:
    prior = predictor()
    before = prior.predict(at())
    prior.learn(at(), Seen(rate_per_device=1.0, margin=-0.5))
    assert prior.anew().predict(at()) == before
    assert prior.predict(at()) != before
