from __future__ import annotations

import pytest

from optikit.core.corners import four_corners
from optikit.spec.record import RateResult, Trial, Variant
from optikit.spec.serving import ServingConfig


def trial(
    name: str, variant: Variant, rate: float | None, tp: int = 1, purpose: str = "tune"
) -> Trial:
    return Trial.parse(
        {
            "id": name,
            "number": 0,
            "purpose": purpose,
            "variant": variant,
            "state": "complete",
            "model_digest": "d",
            "serving": ServingConfig(max_model_len=64, tensor_parallel=tp),
            "fitness": 0.0 if rate is None else rate / tp,
            "rate": RateResult(
                outcome="infeasible" if rate is None else "pass",
                rate_rps=rate,
                preliminary=True,
                reason="too slow" if rate is None else "ok",
                method="doubling",
                requests=60,
            ),
        }
    )


def test_gains_are_per_device_and_over_the_baseline() -> None:
    benchmark = [trial("b0", "baseline", 4.0, tp=2), trial("b1", "compressed", 3.0)]
    tune = [trial("t0", "compressed", 6.0), trial("t1", "baseline", 1.0)]
    corners = four_corners(benchmark, tune, compresses=True)
    assert corners["baseline"].rate_per_gpu == pytest.approx(2.0)
    assert corners["baseline"].gain == pytest.approx(1.0)
    assert corners["quantized"].gain == pytest.approx(1.5)
    assert corners["both"].gain == pytest.approx(3.0)
    assert corners["both"].trial == "t0"
    # nothing better was found: the default stays the best of the tuned
    assert corners["tuned"].trial == "b0"


def test_a_missed_slo_is_null_with_a_reason() -> None:
    corners = four_corners(
        [trial("b0", "baseline", None), trial("b1", "compressed", 3.0)], [], compresses=True
    )
    assert corners["baseline"].slo_met is False
    assert corners["baseline"].rate_rps is None
    assert "too slow" in (corners["baseline"].reason or "")
    assert corners["quantized"].gain is None
    assert "baseline has no rate" in (corners["quantized"].reason or "")
    assert corners["both"].slo_met is None
    assert "not measured" in (corners["both"].reason or "")


def test_no_rate_is_only_a_missed_slo_where_the_search_says_so() -> None:
    crashed = trial("b0", "baseline", None).model_copy(
        update={"state": "failed", "rate": None, "error": "no kernel"}
    )
    assert four_corners([crashed], [], compresses=False)["baseline"].slo_met is None
    reason = four_corners([crashed], [], compresses=False)["baseline"].reason
    assert reason == "engine failed: no kernel"
    missed = trial("b1", "baseline", None)
    assert missed.rate is not None
    rate = missed.rate.model_copy(update={"outcome": "inconclusive", "reason": "void twice"})
    unclear = missed.model_copy(update={"id": "t0", "rate": rate})
    corner = four_corners([missed], [unclear], compresses=False)["tuned"]
    assert (corner.slo_met, corner.reason) == (None, "inconclusive: void twice")
