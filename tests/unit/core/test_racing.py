"""A search that is given up once its configuration cannot win."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.racing import Raced, pruned_fitness
from optikit.core.rate import rate_search
from optikit.loadgen.find_rate import find_rate
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import RateResult
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload
from tests.doubles import Queue

WORK = Workload(prompt_tokens=8, output_tokens=4)
SLO = Slo.parse(["p95(e2e) <= 500 ms"])
SERVICE_S = 0.1


def search(
    seats: int, must_beat: float | None, slo: Slo = SLO, method: str = "adjusted", **more: Any
) -> tuple[RateResult, int, Any]:
    """What is found at a queue of so many seats, and how many requests it took."""
    choice = MethodChoice(name=method)
    machine = rate_search(choice, WORK, slo, max_num_seqs=seats, must_beat_rps=must_beat, **more)
    found = find_rate(
        machine,
        Queue(service_s=SERVICE_S, seats=seats),
        Endpoint(base_url="http://x", model="m", vocab=1000),
        WORK,
        slo,
        choice,
        on_probe=lambda probe, timings: None,
        check=lambda: None,
        remaining_s=lambda: 1e9,
    )
    return found, found.requests, machine


@pytest.mark.parametrize("method", ["adjusted", "doubling"])
def test_what_fails_at_the_incumbents_rate_ends_after_that_probe(method: str) -> None:
    full, cost, _ = search(4, None, method=method)
    assert full.rate_rps is not None
    found, spent, machine = search(4, 1.05 * 4 / SERVICE_S * 0.99, method=method)
    assert isinstance(machine, Raced)
    assert machine.lost is not None
    assert "had to be beaten" in machine.lost or "fails at" in machine.lost
    assert (found.outcome, found.rate_rps) == ("inconclusive", None)
    assert found.reason.startswith("pruned")
    assert spent < cost / 2
    assert sum(probe.phase in ("open", "certify") for probe in found.probes) == 1


@pytest.mark.parametrize("method", ["adjusted", "doubling"])
def test_what_beats_the_incumbent_is_measured_to_the_end(method: str) -> None:
    full, _, _ = search(4, None, method=method)
    assert full.rate_rps is not None
    found, _, machine = search(4, 0.6 * full.rate_rps, method=method)
    assert machine.lost is None
    assert found.outcome == "pass"
    assert found.rate_rps == pytest.approx(full.rate_rps, rel=0.12)


def test_too_few_seats_are_seen_before_any_open_probe() -> None:
    found, _, machine = search(2, 40.0)  # 2 seats of 0.1 s hold at most 20 requests a second
    assert "2 requests at once" in machine.lost
    assert all(probe.phase in ("warmup", "closed") for probe in found.probes)


def test_without_an_slo_the_saturation_throughput_decides() -> None:
    found, _, machine = search(8, 100.0, Slo())
    assert machine.lost is not None
    found, _, machine = search(8, 70.0, Slo())
    assert machine.lost is None
    assert found.rate_rps == pytest.approx(80.0, rel=0.08)


def test_an_slo_that_nothing_holds_is_infeasible_and_not_pruned() -> None:
    found, _, _ = search(4, 10.0, Slo.parse(["p95(e2e) <= 50 ms"]))
    assert found.outcome == "infeasible"


def test_an_estimate_costs_less_than_a_certificate_and_lies_beside_it() -> None:
    whole, cost, _ = search(8, None)
    estimate, less, _ = search(8, None, certify=False)
    assert whole.rate_rps is not None
    assert estimate.outcome == "pass"
    assert estimate.preliminary
    assert "not certified" in estimate.reason
    assert estimate.rate_rps == pytest.approx(whole.rate_rps, rel=0.06)
    assert less < cost
    assert not any(probe.phase == "certify" for probe in estimate.probes)


def test_a_near_miss_teaches_more_than_a_miss_by_far() -> None:
    near, _, _ = search(4, 41.0)
    far, _, _ = search(4, 70.0)
    assert 0 < pruned_fitness(near, 41.0, 1) <= 41.0
    assert pruned_fitness(far, 70.0, 1) < 70.0
    assert pruned_fitness(near, 41.0, 2) == pytest.approx(pruned_fitness(near, 41.0, 1) / 2)
