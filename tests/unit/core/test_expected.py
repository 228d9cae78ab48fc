"""A simulated server's answer, held against long simulations of the same server."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optikit.core.expected import Answer, answer, log_excess
from optikit.core.load import plan_load
from optikit.core.simulate import SimulatedServer
from optikit.core.steptimes import StepTimes
from optikit.core.timings import Timings
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload

WORK = Workload.parse({"prompt_tokens": 400, "output_tokens": 60})
DRAWN = Workload.parse(
    {
        "prompt_tokens": {"distribution": "uniform", "low": 100, "high": 700},
        "output_tokens": {"distribution": "lognormal", "mean": 60, "std": 40, "high": 300},
    }
)
NONE = Slo.parse([])


def server(seats: int = 64, budget: int = 1024, **more: Any) -> SimulatedServer:
    linear = np.maximum(4e-3, 4e-5 * np.arange(budget + 1))
    times = StepTimes(linear, 2e-8, 1e-10, 1e-3, 4e-6, "test")
    return SimulatedServer(times, seats, budget, more.pop("kv", 200_000), more.pop("noise", 0.0))


@pytest.mark.parametrize("work", [WORK, DRAWN], ids=["fixed", "drawn"])
@pytest.mark.parametrize(
    "slo",
    [
        ["p95(e2e) <= 1400 ms"],
        ["p90(ttft) <= 60 ms", "p50(tpot) <= 9 ms"],
        ["goodput(ttft <= 80 ms, tpot <= 10 ms) >= 90 %"],
        ["p99(itl) <= 30 ms"],
    ],
)
def test_its_rate_is_where_a_long_probe_meets_the_limit(work: Workload, slo: list[str]) -> None:
    bounds, one = Slo.parse(slo), server()
    rate = answer(one, work, bounds).rate_rps()
    itl = "itl" in slo[0]

    def far(factor: float) -> float:
        load = plan_load(work, factor * rate, 8000, 5, before=800, after=400)
        return log_excess(one.run(load, keep_tokens=itl).timings, bounds)

    reach = 1.3 if itl else 1.12  # gaps are whole steps: their percentile hardly grows with load
    assert far(1 / reach) <= 0 < far(reach)


def test_without_a_bound_it_is_the_saturation_throughput() -> None:
    found = answer(server(), WORK, NONE)
    ends = np.sort(server().run(plan_load(WORK, None, 12_000, 3), concurrency=128).timings.end_s)
    assert found.rate_rps() == pytest.approx(6000 / (ends[9000] - ends[3000]), rel=0.03)
    assert found.lone_excess == -math.inf


def test_alone_a_request_takes_what_the_steps_say() -> None:
    found = answer(server(), WORK, Slo.parse(["p95(ttft) <= 100 ms"]))
    times = server().times
    assert found.ttft_ms == pytest.approx(1e3 * times.prefill_s(400), rel=1e-6)
    assert found.tpot_ms == pytest.approx(1e3 * times.decode_s(1, 430), rel=1e-3)
    assert found.e2e_ms == pytest.approx(found.ttft_ms + 59 * found.tpot_ms)
    assert found.lone_excess == pytest.approx(math.log(found.ttft_ms / 100))


def test_what_misses_the_limit_alone_has_no_rate_but_has_one_where_it_is_forgiven() -> None:
    alone = answer(server(), WORK, NONE).e2e_ms
    found = answer(server(), WORK, Slo.parse([f"p95(e2e) <= {alone / 1.2:.3f} ms"]))
    assert found.lone_excess == pytest.approx(math.log(1.2), abs=1e-3)
    assert found.rate_rps() == 0.0
    assert found.rate_rps(math.log(1.2) + 0.1) > 1.0


def test_what_is_hopeless_is_not_simulated_further() -> None:
    found = answer(server(), WORK, Slo.parse(["p95(e2e) <= 50 ms"]))
    assert len(found.loads) == 0
    assert found.rate_rps() == 0.0


def test_a_wider_limit_never_lowers_the_rate() -> None:
    found = answer(server(), DRAWN, Slo.parse(["p95(e2e) <= 1400 ms"]))
    rates = [found.rate_rps(slack) for slack in np.linspace(-1, 1, 60)]
    assert rates == sorted(rates)
    assert 0 < rates[-1] <= found.saturation_rps


def test_forgiving_a_tenth_is_a_limit_a_tenth_wider() -> None:
    tight, wide = (
        answer(server(), DRAWN, Slo.parse([f"p95(e2e) <= {limit} ms"])) for limit in (1400, 1540)
    )
    assert tight.rate_rps(math.log(1.1)) == pytest.approx(wide.rate_rps(), rel=0.1)


def test_more_seats_never_hurt_throughput() -> None:
    few, many = (answer(server(seats), WORK, NONE).rate_rps() for seats in (4, 64))
    assert many > 2 * few


def test_the_same_server_answers_the_same() -> None:
    slo = Slo.parse(["p95(e2e) <= 1400 ms"])
    one, two = (answer(server(), DRAWN, slo) for _ in range(2))
    assert one.rate_rps() == two.rate_rps()
    assert (one.excess == two.excess).all()


def test_a_request_that_never_ended_is_over_every_limit() -> None:
    slo = Slo.parse(["p50(e2e) <= 1000 ms"])
    times = np.array([0.1, 0.2, 0.3])
    whole = Timings(
        scheduled_s=np.zeros(3),
        sent_s=np.zeros(3),
        first_token_s=times / 2,
        end_s=times,
        prompt_tokens=np.full(3, 5),
        output_tokens=np.full(3, 5),
        first=0,
        last=3,
    )
    assert log_excess(whole, slo) == pytest.approx(math.log(0.2))
    open_yet = replace(whole, end_s=np.array([0.1, np.nan, np.nan]))
    assert log_excess(open_yet, slo) == math.inf


def test_an_answer_without_a_curve_is_its_saturation() -> None:
    nothing = np.zeros(0)
    assert Answer(7.0, -math.inf, nothing, nothing, 1.0, 1.0, 1.0).rate_rps() == 7.0
