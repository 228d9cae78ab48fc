"""Loads on a simulated server; whole searches in virtual time, held against long runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from optikit.core.evidence import excess
from optikit.core.load import Load, plan_load
from optikit.core.rate import rate_search
from optikit.core.timings import Timings
from optikit.errors import BadInput, DoesNotFit
from optikit.loadgen.find_rate import find_rate
from optikit.loadgen.simulated import SimulatedGenerator, server_of
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.recipe import RecipeFacts
from optikit.spec.record import RateResult
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import SimulatedReplica
from optikit.spec.sku import ResourceSKU
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload
from optikit.stores.shapes import shipped_shape

FP8 = RecipeFacts(
    name="fp8",
    summary="",
    scheme="FP8_DYNAMIC",
    needs_calibration=False,
    default_samples=0,
    block_bytes_per_parameter=1.0,
    compute_dtype="fp8",
)
WORKLOAD = Workload.parse({"prompt_tokens": 1200, "output_tokens": 80})
UNEVEN = Workload.parse(
    {
        "prompt_tokens": {"distribution": "lognormal", "mean": 600, "std": 500, "high": 4000},
        "output_tokens": {"distribution": "lognormal", "mean": 200, "std": 150, "high": 1000},
    }
)
HELD, TOO_MUCH = 1.03, 0.85
"""A certified rate over the sustainable one lies between the two."""


def replica(workload: Workload = WORKLOAD, **changes: Any) -> SimulatedReplica:
    shape = shipped_shape("qwen-2.5-7b")
    assert shape is not None
    serving = ServingConfig(max_model_len=workload.total_tokens + 8, **changes)
    return SimulatedReplica(
        shape=shape, recipe=FP8, sku=ResourceSKU.H100_1.facts, serving=serving, seed=3
    )


def endpoint(of: SimulatedReplica) -> Endpoint:
    return Endpoint(base_url="http://127.0.0.1:1", model="m", vocab=1000, simulated=of)


def load(rate: float | None = 20.0, count: int = 200, before: int = 0, after: int = 0) -> Load:
    return plan_load(WORKLOAD, rate, count, 1, before=before, after=after)


# ---- the generator


def test_a_run_is_the_servers_and_the_clock_is_virtual() -> None:
    generator, of = SimulatedGenerator(), replica()
    found = generator.run(endpoint(of), load())
    expected = server_of(of).run(load(), seed=3).timings
    np.testing.assert_array_equal(found.end_s, expected.end_s)
    assert generator.clock() == pytest.approx(float(found.end_s.max()))
    generator.run(endpoint(of), load())
    assert generator.clock() == pytest.approx(2 * float(found.end_s.max()))


def test_the_clock_stands_where_the_last_measured_request_ended() -> None:
    generator = SimulatedGenerator()
    found = generator.run(endpoint(replica()), load(before=20, after=100))
    assert found.measured().ok.all()
    assert generator.clock() == pytest.approx(float(found.measured().end_s.max()))


def test_a_closed_loop() -> None:
    found = SimulatedGenerator().run(endpoint(replica()), load(None, 40), concurrency=4)
    assert found.ok.all()
    in_flight = np.searchsorted(np.sort(found.end_s), found.sent_s, side="right")
    assert (np.arange(1, 41) - in_flight <= 4).all()


def test_a_watch_sees_every_32nd_end_and_stops_the_run() -> None:
    generator, seen = SimulatedGenerator(), []

    def watch(timings: Timings) -> bool:
        seen.append(int(timings.ok.sum()))
        return len(seen) == 3

    found = generator.run(endpoint(replica()), load(), watch=watch)
    assert seen == [32, 64, 96]
    assert int(found.ok.sum()) == 96
    assert not found.errors
    assert np.isnan(found.end_s).sum() == 104
    assert generator.clock() == pytest.approx(float(np.nanmax(found.end_s)))
    calm = SimulatedGenerator().run(endpoint(replica()), load(), watch=lambda timings: False)
    np.testing.assert_array_equal(
        calm.end_s, SimulatedGenerator().run(endpoint(replica()), load()).end_s
    )


def test_the_deadline_makes_errors_of_what_is_open() -> None:
    generator = SimulatedGenerator()
    found = generator.run(endpoint(replica()), load(after=50), timeout_s=2.0)
    open_yet = np.flatnonzero(~found.ok[:200])
    assert 0 < len(open_yet) < 200
    assert sorted(found.errors) == open_yet.tolist()  # not the fifty behind
    assert found.errors[int(open_yet[0])] == "not finished in 2 s"
    assert np.nanmax(found.end_s) <= 2.0
    assert generator.clock() == 2.0


def test_tokens_are_kept_where_they_are_asked_for() -> None:
    found = SimulatedGenerator().run(endpoint(replica()), load(), keep_tokens=True)
    assert found.token_s is not None
    assert len(found.token_s) == 200 * 80
    assert SimulatedGenerator().run(endpoint(replica()), load()).token_s is None


def test_a_real_endpoint_is_refused() -> None:
    real = Endpoint(base_url="http://127.0.0.1:8000", model="m", vocab=1000)
    with pytest.raises(BadInput, match="no simulated server; use generator 'openai'"):
        SimulatedGenerator().run(real, load())


def test_a_replica_that_cannot_stand_is_refused() -> None:
    shape = shipped_shape("llama-3-70b")
    assert shape is not None
    with pytest.raises(DoesNotFit, match="weights take"):
        server_of(replica().model_copy(update={"shape": shape, "recipe": None}))


# ---- replicas behind one address


def replicas(count: int, sku: str = "H100_8", **changes: Any) -> SimulatedReplica:
    of = replica(data_parallel=count, **changes)
    return of.model_copy(update={"sku": ResourceSKU[sku].facts})


def test_requests_go_to_the_replicas_in_turn() -> None:
    asked = load(60.0, 300, before=10, after=50)
    found = SimulatedGenerator().run(endpoint(replicas(3)), asked, keep_tokens=True)
    assert (found.first, found.last, len(found)) == (10, 310, 360)
    np.testing.assert_array_equal(found.scheduled_s, asked.at_s)
    assert found.measured().ok.all()
    one = SimulatedGenerator().run(
        endpoint(replica()),
        dataclasses.replace(
            asked,
            at_s=asked.at_s[::3],
            prompt_tokens=asked.prompt_tokens[::3],
            output_tokens=asked.output_tokens[::3],
            first=4,  # requests 12, 15, ..., 309
            last=104,
        ),
        keep_tokens=True,
    )
    np.testing.assert_array_equal(found.end_s[::3], one.end_s)
    assert found.token_s is not None
    assert found.token_offsets is not None
    ends = found.token_s[found.token_offsets[1:] - 1]
    np.testing.assert_allclose(ends[10:310], found.end_s[10:310], rtol=1e-12)
    assert one.token_s is not None
    np.testing.assert_array_equal(found.token_s[:80], one.token_s[:80])
    again = SimulatedGenerator().run(endpoint(replicas(3)), asked)
    np.testing.assert_array_equal(found.end_s, again.end_s)


def test_four_replicas_do_four_times_as_much() -> None:
    asked = load(None, 2000)
    alone = SimulatedGenerator().run(endpoint(replicas(1)), asked, concurrency=64)
    four = SimulatedGenerator().run(endpoint(replicas(4)), asked, concurrency=256)
    assert four.ok.all()
    assert alone.end_s.max() / four.end_s.max() == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("clients", [1, 2, 3, 7])
def test_the_clients_of_a_closed_loop_are_split(clients: int) -> None:
    found = SimulatedGenerator().run(endpoint(replicas(4)), load(None, 41), concurrency=clients)
    assert found.ok.all()
    events = np.sort(np.concatenate([found.sent_s, found.end_s]))
    sent = np.searchsorted(np.sort(found.sent_s), events, side="right")
    ended = np.searchsorted(np.sort(found.end_s), events, side="right")
    assert (sent - ended).max() <= clients


def test_fewer_requests_than_replicas() -> None:
    assert SimulatedGenerator().run(endpoint(replicas(8)), load(5.0, 3)).ok.all()


def test_more_replicas_than_devices_are_refused() -> None:
    with pytest.raises(DoesNotFit, match="4 replicas of 1 devices"):
        server_of(replicas(4, "H100_2"))


# ---- whole searches


def searched(of: SimulatedReplica, workload: Workload, slo: Slo) -> RateResult:
    method = MethodChoice()
    return find_rate(
        rate_search(method, workload, slo, max_num_seqs=of.serving.max_num_seqs),
        SimulatedGenerator(),
        endpoint(of),
        workload,
        slo,
        method,
        on_probe=lambda probe, timings: None,
        check=lambda: None,
        remaining_s=lambda: 1e9,
    )


def share_over(of: SimulatedReplica, workload: Workload, slo: Slo, rate: float) -> float:
    """In the long run: forty thousand requests."""
    planned = plan_load(workload, rate, 40_000, 77, before=2000, after=2000)
    timings = server_of(of).run(planned, seed=9).timings.measured()
    return float(excess(timings, slo.bounds[0]).over.mean())


@pytest.mark.parametrize(
    ("workload", "bound"),
    [
        (WORKLOAD, "p95(e2e) <= 500 ms"),
        (UNEVEN, "goodput(ttft <= 150 ms, tpot <= 15 ms) >= 95 %"),
    ],
    ids=["p95", "goodput"],
)
def test_the_certified_rate_is_that_of_a_long_run(workload: Workload, bound: str) -> None:
    slo, of = Slo.parse([bound]), replica(workload)
    found = searched(of, workload, slo)
    assert (found.outcome, found.preliminary) == ("pass", False), found.reason
    assert found.rate_rps is not None
    allowed = slo.bounds[0].allowed
    assert share_over(of, workload, slo, found.rate_rps / HELD) <= allowed
    assert share_over(of, workload, slo, found.rate_rps / TOO_MUCH) > allowed
    assert found.requests < 15_000


def test_without_an_slo_it_is_nearly_the_throughput_of_a_full_server() -> None:
    of = replica()
    found = searched(of, WORKLOAD, Slo())
    assert (found.outcome, found.preliminary) == ("pass", False), found.reason
    assert found.rate_rps is not None
    planned = plan_load(WORKLOAD, None, 30_000, 5, before=600, after=600)
    ends = np.sort(server_of(of).run(planned, concurrency=600).timings.end_s)
    full = 20_000 / (ends[25_000] - ends[5000])
    assert 0.85 * full < found.rate_rps < HELD * full
    assert found.saturation_rps == pytest.approx(full, rel=0.05)
