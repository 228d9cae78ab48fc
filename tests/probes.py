"""Probes and results of a rate search, made up: what tests of reports start from."""

from __future__ import annotations

from typing import Any

from optikit.spec.record import Measurement, Probe, Quantile, RateResult


def probe(number: int, rate: float | None, **facts: Any) -> Probe:
    """A probe with a made-up measurement; ``facts`` change either."""
    measured = {
        "requests": 100,
        "completed": 100,
        "failed": 0,
        "offered_rps": rate,
        "achieved_rps": 0.5,
        "output_tokens_per_s": 1.0,
        "total_tokens_per_s": 1.0,
        "duration_s": 1.0,
        "quantiles": (quantile(1500.0),),
        "mean_e2e_ms": 1000.0,
    }
    measured |= {key: facts.pop(key) for key in list(facts) if key in Measurement.model_fields}
    given = {"phase": "open", "verdict": "pass", "reason": "", **facts}
    return Probe(number=number, rate_rps=rate, measurement=Measurement(**measured), **given)


def quantile(
    value: float, low: float | None = None, high: float | None = None, percentile: float = 95.0
) -> Quantile:
    return Quantile(metric="e2e", percentile=percentile, value_ms=value, low_ms=low, high_ms=high)


def found(**facts: Any) -> RateResult:
    whole = {
        "outcome": "pass",
        "rate_rps": 2.0,
        "rate_low_rps": 2.1,
        "rate_high_rps": 2.4,
        "preliminary": False,
        "reason": "",
        "method": "adjusted",
        "requests": 100,
        **facts,
    }
    return RateResult(**whole)
