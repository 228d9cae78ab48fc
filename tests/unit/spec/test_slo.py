"""SLO: texts and back, and every way in which a bound is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import SpecError
from optikit.spec.slo import Bound, Goodput, Limit, Slo

METRICS = ["e2e", "ttft", "tpot", "itl"]


def test_units_and_spaces() -> None:
    assert Bound.model_validate("P95 ( E2E ) <= 1.5 s").limit_ms == 1500
    assert Bound.model_validate("p50(itl)<=0.29s").limit_ms == 290
    assert str(Slo.parse(["p50(ttft)<50ms", "p99.9(tpot) <= 10 ms"])) == (
        "p50(ttft) <= 50 ms, p99.9(tpot) <= 10 ms"
    )
    assert str(Slo.parse(" GOODPUT( ttft<0.2s,E2E <= 2 s )>95% ")) == (
        "goodput(ttft <= 200 ms, e2e <= 2000 ms) >= 95 %"
    )


def test_what_bounds_say() -> None:
    slo = Slo.parse(["p95(e2e) <= 2 s", "goodput(ttft <= 50 ms, tpot <= 10 ms) >= 90 %"])
    bound, goodput = slo.bounds
    assert isinstance(bound, Bound)
    assert isinstance(goodput, Goodput)
    assert (bound.name, goodput.name) == ("p95(e2e)", "goodput(ttft, tpot)")
    assert bound.allowed == pytest.approx(0.05)
    assert goodput.allowed == pytest.approx(0.1)
    assert bound.limits == (Limit(metric="e2e", limit_ms=2000),)
    assert [limit.metric for limit in goodput.limits] == ["ttft", "tpot"]
    assert slo.percentiles == (bound,)
    assert slo.metrics == {"e2e", "ttft", "tpot"}


@given(
    metric=st.sampled_from(METRICS),
    percentile=st.floats(0, 100, exclude_min=True, exclude_max=True, allow_subnormal=False),
    limit=st.floats(1e-9, 1e12),
)
def test_text_and_back(metric: Any, percentile: float, limit: float) -> None:
    bound = Bound(metric=metric, percentile=percentile, limit_ms=limit)
    slo = Slo(bounds=(bound,))
    assert Slo.model_validate_json(slo.model_dump_json()).bounds == (bound,)
    assert Slo.parse(str(slo)) == slo


@given(
    limits=st.dictionaries(st.sampled_from(METRICS[:3]), st.floats(1e-9, 1e12), min_size=1),
    share=st.floats(1e-9, 100, exclude_max=True),
)
def test_goodput_text_and_back(limits: dict[Any, float], share: float) -> None:
    goodput = Goodput(
        limits=tuple(Limit(metric=m, limit_ms=limit) for m, limit in limits.items()),
        share_percent=share,
    )
    slo = Slo(bounds=(goodput, Bound.model_validate("p95(e2e) <= 1 s")))
    assert Slo.model_validate_json(slo.model_dump_json()) == slo
    assert Slo.parse(slo.model_dump(mode="json")) == slo
    assert Slo.parse({"bounds": slo.bounds}) == slo


@pytest.mark.parametrize(
    ("slo", "words"),
    [
        (["p95(latency) <= 1 s"], "unknown metric 'latency'"),
        (["p95 e2e 1 s"], "write it as 'p95(e2e) <= 500 ms'"),
        (["p95(e2e) <= 500"], "a unit of ms or s"),
        (["p95(e2e) >= 500 ms"], "cannot read the bound"),
        (["p95(e2e) <= 0 ms"], "can never be met"),
        (["p95(e2e) <= -3 s"], "can never be met"),
        (["p95(e2e) <= 1e999 s"], "finite"),
        (["p100(e2e) <= 1 s"], "must lie between 0 and 100"),
        (["p0(e2e) <= 1 s"], "must lie between 0 and 100"),
        ([5], "'bounds.0'"),
        (5, "Slo"),
        (["p95(e2e) <= 1 s", "p95(e2e) <= 2 s"], "p95(e2e) is bounded twice"),
        (["p95(e2e) <= 1 s", "p95.0(E2E) <= 1 s"], "keep the stricter one"),
        (["goodput(ttft <= 1 s) >= 95"], "write it as 'goodput("),
        (["goodput() >= 95 %"], "cannot read the limit ''"),
        (["goodput(ttft <= 1 s, rate <= 1 s) >= 95 %"], "unknown metric 'rate'"),
        (["goodput(ttft <= 0 s) >= 95 %"], "can never be met"),
        (["goodput(ttft <= 1 s) >= 100 %"], "must lie between 0 and 100 %"),
        (["goodput(itl <= 1 s) >= 90 %"], "limit tpot in a goodput instead"),
        (["goodput(ttft <= 1 s, ttft <= 2 s) >= 90 %"], "limits ttft twice"),
        (["goodput(e2e <= 1 s) >= 90 %", "goodput(e2e <= 2 s) >= 95 %"], "bounded twice"),
        ({"bounds": [{"metric": "e2e"}]}, "'bounds.0.percentile' is missing"),
    ],
)
def test_refusals(slo: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        Slo.parse(slo)
    assert words in str(caught.value)


def test_one_metric_at_several_percentiles_is_no_contradiction() -> None:
    assert len(Slo.parse(["p50(ttft) <= 50 ms", "p99(ttft) <= 1 s"]).bounds) == 2
