from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from optikit.spec.slo import Bound, Slo


def test_units_and_spaces() -> None:
    assert Bound.model_validate("P95 ( E2E ) <= 1.5 s").limit_ms == 1500
    assert str(Slo.parse(["p50(ttft)<50ms", "p99.9(tpot) <= 10 ms"])) == (
        "p50(ttft) <= 50 ms, p99.9(tpot) <= 10 ms"
    )


@given(
    metric=st.sampled_from(["e2e", "ttft", "tpot"]),
    percentile=st.integers(1, 99),
    limit=st.integers(1, 10**6),
)
def test_text_and_back(metric: str, percentile: int, limit: int) -> None:
    bound = Bound.model_validate(
        {"metric": metric, "percentile": percentile, "limit_ms": float(limit)}
    )
    assert Slo.model_validate_json(Slo(bounds=(bound,)).model_dump_json()).bounds == (bound,)
