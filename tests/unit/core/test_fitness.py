from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.fitness import LARGEST_EXCESS, best, fitness, slo_penalty
from optikit.spec.record import RateResult, Trial
from optikit.spec.slo import Slo

SLO = Slo.parse(["p95(e2e) <= 500 ms", "p50(ttft) <= 50 ms"])


def probe(
    e2e: float,
    ttft: float,
    verdict: str = "fail",
    phase: str = "closed",
    rate: float | None = None,
    completed: int = 60,
) -> dict[str, Any]:
    quantiles = [
        {"metric": "e2e", "percentile": 95, "value_ms": e2e},
        {"metric": "ttft", "percentile": 50, "value_ms": ttft},
    ]
    return {
        "number": 0,
        "phase": phase,
        "concurrency": 1 if phase == "closed" else None,
        "rate_rps": rate,
        "verdict": verdict,
        "reason": "",
        "measurement": {
            "requests": 60,
            "completed": completed,
            "failed": 60 - completed,
            "offered_rps": rate,
            "achieved_rps": 1.0,
            "output_tokens_per_s": 1.0,
            "total_tokens_per_s": 1.0,
            "duration_s": 1.0,
            "quantiles": quantiles if completed else [],
            "mean_e2e_ms": e2e,
        },
    }


def result(
    outcome: Literal["pass", "infeasible", "inconclusive"],
    rate: float | None = None,
    probes: tuple[dict[str, Any], ...] = (),
) -> RateResult:
    return RateResult.parse(
        {
            "outcome": outcome,
            "rate_rps": rate,
            "preliminary": True,
            "reason": "",
            "method": "doubling",
            "requests": 60,
            "probes": probes,
        }
    )


def test_a_rate_counts_per_device() -> None:
    assert fitness(result("pass", 8.0), 4, SLO, 1.0) == 2.0


def test_the_worst_bound_sets_the_penalty() -> None:
    infeasible = result("infeasible", probes=(probe(750.0, 100.0),))
    assert slo_penalty(infeasible, SLO) == pytest.approx(-1.0)
    assert fitness(infeasible, 4, SLO, 0.5) == pytest.approx(-0.5)


def test_the_penalty_is_read_at_the_lowest_load_that_failed() -> None:
    probes = (
        probe(5000.0, 1.0, phase="open", rate=4.0),
        probe(400.0, 40.0, verdict="pass"),
        probe(600.0, 1.0, phase="open", rate=2.0),
        probe(9999.0, 1.0, phase="open", rate=1.0, verdict="void"),
    )
    assert slo_penalty(result("infeasible", probes=probes), SLO) == pytest.approx(-0.2)


def test_the_penalty_is_bounded() -> None:
    assert slo_penalty(result("infeasible", probes=(probe(1e9, 1.0),)), SLO) == -LARGEST_EXCESS
    nothing = result("infeasible", probes=(probe(1.0, 1.0, completed=0),))
    assert slo_penalty(nothing, SLO) == -LARGEST_EXCESS
    assert slo_penalty(nothing, Slo()) == -LARGEST_EXCESS


def test_a_bound_that_nothing_was_measured_for_counts_as_the_worst() -> None:
    other = Slo.parse("p99(e2e) <= 500 ms")
    infeasible = result("infeasible", probes=(probe(1.0, 1.0),))
    assert slo_penalty(infeasible, other) == -LARGEST_EXCESS


@given(
    rate=st.floats(1e-6, 1e6),
    feasible_devices=st.integers(1, 8),
    devices=st.integers(1, 8),
    weight=st.floats(0, 1e3),
    e2e=st.floats(0, 1e9),
    ttft=st.floats(0, 1e9),
    outcome=st.sampled_from(["infeasible", "inconclusive"]),
    claimed=st.none() | st.floats(1e-6, 1e6),
)
def test_feasible_ranks_above_infeasible(
    rate: float,
    feasible_devices: int,
    devices: int,
    weight: float,
    e2e: float,
    ttft: float,
    outcome: Any,
    claimed: float | None,
) -> None:
    good = fitness(result("pass", rate), feasible_devices, SLO, weight)
    bad = fitness(result(outcome, claimed, (probe(e2e, ttft),)), devices, SLO, weight)
    assert good > bad


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_excess_never_ranks_higher(a: float, b: float) -> None:
    low, high = sorted((a, b))
    better = fitness(result("infeasible", probes=(probe(low, 1.0),)), 1, SLO, 1.0)
    worse = fitness(result("infeasible", probes=(probe(high, 1.0),)), 1, SLO, 1.0)
    assert better >= worse


def trial(name: str, rate: RateResult | None, devices: int = 1) -> Trial:
    return Trial.parse(
        {
            "id": name,
            "number": 0,
            "purpose": "tune",
            "variant": "compressed",
            "state": "complete" if rate else "failed",
            "model_digest": "d",
            "serving": {"max_model_len": 64, "tensor_parallel": devices},
            "rate": rate,
        }
    )


def test_the_best_has_the_highest_rate_per_device() -> None:
    trials = [
        trial("infeasible", result("infeasible", probes=(probe(1.0, 1.0),))),
        trial("more", result("pass", 6.0), 4),
        trial("best", result("pass", 2.0)),
        trial("failed", None),
    ]
    found = best(trials)
    assert found is not None
    assert found.id == "best"


def test_ties_go_to_fewer_devices_then_to_the_earlier() -> None:
    trials = [
        trial("two", result("pass", 4.0), 2),
        trial("one", result("pass", 2.0)),
        trial("later", result("pass", 2.0)),
    ]
    found = best(trials)
    assert found is not None
    assert found.id == "one"


def test_without_a_feasible_trial_there_is_no_best() -> None:
    assert best([]) is None
    assert best([trial("x", result("infeasible")), trial("y", None)]) is None


def test_a_goodput_that_is_missed_counts_by_its_share() -> None:
    slo = Slo.parse("goodput(ttft <= 1 s) >= 90 %")
    missed = probe(1.0, 1.0)
    missed["measurement"]["bounds"] = [
        {"bound": str(slo.bounds[0]), "allowed": 0.1, "counted": 60, "over": 18, "share": 0.3,
         "low": 0.2, "high": 0.4, "effective": 60.0}
    ]  # fmt: skip
    assert slo_penalty(result("infeasible", probes=(missed,)), slo) == pytest.approx(-2.0)
