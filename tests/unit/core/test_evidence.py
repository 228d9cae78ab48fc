"""Over the limit or not, request by request; values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from optikit.core.evidence import excess, gaps_ms, known_prefix, values_ms
from optikit.spec.slo import Slo
from tests.unit.core.timing_case import NAN, timings

E2E = Slo.parse(["p95(e2e) <= 500 ms"]).bounds[0]
TTFT = Slo.parse(["p95(ttft) <= 100 ms"]).bounds[0]
TPOT = Slo.parse(["p95(tpot) <= 10 ms"]).bounds[0]
ITL = Slo.parse(["p99(itl) <= 100 ms"]).bounds[0]
BOTH = Slo.parse("goodput(e2e <= 500 ms, ttft <= 100 ms) >= 90 %").bounds[0]
TOKENS = [[0.1, 0.2, 0.45], [1.1], [2.1, 2.15], [3.1, 3.9]]


def test_definitions() -> None:
    one = timings([1.0], 0.5, ttft=0.1, lag=0.01, output=5)
    assert values_ms(one, "e2e") == pytest.approx([500.0])
    assert values_ms(one, "ttft") == pytest.approx([100.0])
    assert values_ms(one, "tpot") == pytest.approx([100.0])  # 400 ms over four further tokens


def test_one_output_token_has_no_tpot_and_none_is_counted() -> None:
    two = timings([0.0, 1.0], 0.5, ttft=0.1, output=[1, 5])
    assert np.isnan(values_ms(two, "tpot")).tolist() == [True, False]
    found = excess(two, TPOT)
    assert found.units.tolist() == [0.0, 1.0]
    assert found.over.tolist() == [0.0, 1.0]


def test_over_units_and_score() -> None:
    three = timings([0.0, 1.0, 2.0], [0.4, 0.5, 1.0])
    found = excess(three, E2E)
    assert found.over.tolist() == [0.0, 0.0, 1.0]  # the limit itself may be reached
    assert found.units.tolist() == [1.0, 1.0, 1.0]
    assert found.score == pytest.approx([math.log(0.8), 0.0, math.log(2.0)], abs=1e-12)


def test_what_failed_or_never_ended_is_over() -> None:
    three = timings([0.0, 1.0, 2.0], [0.4, NAN, 0.4], errors={2: "HTTP 500: oh"})
    for bound in (E2E, TTFT, TPOT, BOTH):
        found = excess(three, bound)
        assert found.over[1:].tolist() == [1.0, 1.0]
        assert found.units[1:].tolist() == [1.0, 1.0]
        assert np.isnan(found.score[1:]).all()


def test_goodput_is_kept_by_those_that_keep_every_limit() -> None:
    four = timings([0.0, 1.0, 2.0, 3.0], [0.4, 0.6, 0.4, 0.6], ttft=[0.05, 0.05, 0.2, 0.3])
    found = excess(four, BOTH)
    assert found.over.tolist() == [0.0, 1.0, 1.0, 1.0]
    worst = [math.log(0.8), math.log(1.2), math.log(2.0), math.log(3.0)]
    assert found.score == pytest.approx(worst)


def test_goodput_of_a_request_that_lacks_one_of_the_latencies() -> None:
    bound = Slo.parse("goodput(e2e <= 500 ms, tpot <= 10 ms) >= 90 %").bounds[0]
    found = excess(timings([0.0, 1.0], [0.4, 0.6], ttft=0.1, output=1), bound)
    assert found.units.tolist() == [1.0, 1.0]
    assert found.over.tolist() == [0.0, 1.0]


def test_gaps_are_between_tokens_of_one_request() -> None:
    four = timings([0.0, 1.0, 2.0, 3.0], [0.45, 0.1, 0.15, 0.9], tokens=TOKENS)
    gaps, owners = gaps_ms(four)
    assert gaps == pytest.approx([100.0, 250.0, 50.0, 800.0])
    assert owners.tolist() == [0, 0, 2, 3]
    assert values_ms(four, "itl")[[0, 2, 3]] == pytest.approx([250.0, 50.0, 800.0])
    assert np.isnan(values_ms(four, "itl")[1])
    found = excess(timings([0.0, 1.0, 2.0, 3.0], 1.0, tokens=[*TOKENS[:3], [3.1, 3.25]]), ITL)
    assert found.units.tolist() == [2.0, 0.0, 1.0, 1.0]
    assert found.over.tolist() == [1.0, 0.0, 0.0, 1.0]


def test_gaps_of_a_request_that_failed_are_one_miss() -> None:
    four = timings([0.0, 1.0, 2.0, 3.0], 1.0, tokens=TOKENS, errors={0: "x"})
    found = excess(four, ITL)
    assert found.units.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert found.over.tolist() == [1.0, 0.0, 0.0, 1.0]


def test_no_tokens_no_gaps() -> None:
    assert len(gaps_ms(timings([0.0, 1.0]))[0]) == 0
    empty = timings([0.0, 1.0], tokens=[[], []])
    assert len(gaps_ms(empty)[0]) == 0
    assert excess(empty, ITL).units.tolist() == [0.0, 0.0]


def test_known_is_what_ended_or_is_late() -> None:
    four = timings([0.0, 1.0, 2.0, 3.0], [0.4, 5.0, 0.1, 9.0])
    assert known_prefix(four, (E2E,), 0.39) == 0
    assert known_prefix(four, (E2E,), 0.4) == 1
    assert known_prefix(four, (E2E,), 1.49) == 1  # the third is not counted before the second
    assert known_prefix(four, (E2E,), 2.1) == 3  # the second is late since 1.5
    assert known_prefix(four, (E2E,), 3.5) == 4
    assert known_prefix(four, (), 3.5) == 1  # without a bound: when it ended
    assert known_prefix(four, (E2E, TTFT), 0.3) == 0  # under every bound


def test_no_time_makes_a_request_late_for_its_time_per_token() -> None:
    two = timings([0.0, 1.0], [0.4, 50.0])
    assert known_prefix(two, (TPOT,), 40.0) == 1
    assert known_prefix(two, (TPOT,), 51.0) == 2


def test_a_request_is_late_after_it_was_sent_not_after_it_was_due() -> None:
    one = timings([0.0], 0.45, lag=0.1)  # ends at 0.55 and keeps the limit
    assert known_prefix(one.until(0.52), (E2E,), 0.52) == 0
    assert known_prefix(one.until(0.55), (E2E,), 0.55) == 1
    assert known_prefix(one.until(0.05), (E2E,), 0.9) == 0  # nobody has sent it


def test_a_first_token_in_time_is_not_late_however_long_the_answer_is() -> None:
    long = timings([0.0, 1.0], 9.0, ttft=np.array([0.05, 0.3]))
    assert known_prefix(long.until(5.0), (TTFT,), 5.0) == 0, "its end is to be waited for"
    assert known_prefix(long.until(9.5), (TTFT,), 9.5) == 2, "the second is late since 1.1"
    assert excess(long, TTFT).over.tolist() == [0.0, 1.0]


def test_a_failure_is_known() -> None:
    two = timings([0.0, 1.0], [NAN, 0.1], errors={0: "HTTP 500"})
    assert known_prefix(two, (TPOT,), 0.2) == 1
    assert known_prefix(two, (), 2.0) == 2


@given(
    st.lists(st.floats(0.001, 1.5), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(0, 8),
    st.sampled_from([E2E, TTFT, BOTH]),
)
@example([0.125], 0.015625, 0.125, TTFT)
def test_the_known_head_has_the_excess_of_the_whole(
    e2e: list[float], lag: float, now: float, bound: object
) -> None:
    """What is known by now does not change later: an early look is unbiased."""
    whole = timings(np.arange(len(e2e), dtype=float), e2e, ttft=np.array(e2e) / 2, lag=lag)
    count = known_prefix(whole, (bound,), now)  # type: ignore[arg-type]
    then = excess(whole.until(now), bound)  # type: ignore[arg-type]
    later = excess(whole, bound)  # type: ignore[arg-type]
    assert then.over[:count].tolist() == later.over[:count].tolist()
