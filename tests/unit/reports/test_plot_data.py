"""What the figures of a rate search show, in numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.timings import Timings
from optikit.reports._plot_data import completions, in_flight, rate_plot, shown_probe
from optikit.spec.record import BoundEvidence, RateResult
from optikit.spec.slo import Slo
from tests.probes import found, probe, quantile

P95 = Slo.parse("p95(e2e) <= 2 s")
GOODPUT = "goodput(ttft <= 1 s, tpot <= 40 ms) >= 95 %"


def timings(
    sent: list[float], end: list[float], *, first: int = 0, last: int | None = None, **more: Any
) -> Timings:
    at, done = np.array(sent), np.array(end)
    ones = np.ones(len(at), dtype=np.int64)
    last = len(at) if last is None else last
    return Timings(at, at, np.where(np.isfinite(done), at, np.nan), done, ones, ones, first, last,
                   **more)  # fmt: skip


# -- latency against rate


def test_a_point_is_a_probe_at_its_offered_rate_with_the_bounds_percentile() -> None:
    probes = [
        probe(
            5, 3.0, verdict="fail", quantiles=(quantile(2600, 2300, None), quantile(9, 8, 9, 50))
        ),
        probe(4, 1.0, quantiles=(quantile(1500, 1400, 1700),)),
        probe(1, None, phase="warmup", verdict="void"),
        probe(2, None, phase="closed"),
        probe(3, None, phase="scan"),
    ]
    plot = rate_plot(probes, P95, found())
    assert plot is not None
    (panel,) = plot.panels
    assert (panel.name, panel.unit, panel.limit) == ("p95(e2e)", "ms", 2000)
    assert [(p.number, p.rate_rps, p.value, p.low, p.high, p.verdict) for p in panel.points] == [
        (4, 1.0, 1500, 1400, 1700, "pass"),
        (5, 3.0, 2600, 2300, None, "fail"),
    ]
    assert (plot.rate_rps, plot.low_rps, plot.high_rps, plot.certified) == (2.0, 2.1, 2.4, True)


def test_long_latencies_are_in_seconds() -> None:
    probes = [probe(1, 1.0, quantiles=(quantile(25_000, 24_000, 27_000),))]
    plot = rate_plot(probes, Slo.parse("p95(e2e) <= 30 s"), None)
    assert plot is not None
    panel = plot.panels[0]
    point = panel.points[0]
    assert (panel.unit, panel.limit, point.value, point.low, point.high) == ("s", 30, 25, 24, 27)


def test_a_goodput_shows_the_share_that_misses_it() -> None:
    slo = Slo.parse(GOODPUT)
    seen = BoundEvidence(bound=str(slo.bounds[0]), allowed=0.05, counted=100, over=4, share=0.04,
                         low=0.01, high=0.1, effective=80)  # fmt: skip
    nothing = seen.model_copy(update={"counted": 0})
    plot = rate_plot([probe(1, 1.0, bounds=(seen,)), probe(2, 2.0, bounds=(nothing,))], slo, None)
    assert plot is not None
    (panel,) = plot.panels
    assert panel.unit == "% of requests"
    assert panel.limit == pytest.approx(5)
    assert [(p.number, p.value, p.low, p.high) for p in panel.points] == [(1, 4.0, 1.0, 10.0)]


def test_without_an_slo_the_closed_loops_and_the_saturation_are_shown() -> None:
    both = (quantile(900, percentile=50.0), quantile(1000))
    probes = [
        probe(1, None, phase="warmup", verdict="void", quantiles=both),
        probe(2, None, phase="closed", achieved_rps=0.7, quantiles=both),
        probe(3, 1.9, phase="certify", quantiles=both),
    ]
    plot = rate_plot(probes, Slo(), found(saturation_rps=2.2))
    assert plot is not None
    assert [panel.name for panel in plot.panels] == ["p50(e2e)", "p95(e2e)"]
    assert [(p.rate_rps, p.verdict) for p in plot.panels[0].points] == [(0.7, None), (1.9, "pass")]
    assert plot.saturation_rps == 2.2
    with_slo = rate_plot(probes, P95, found(saturation_rps=2.2))
    assert with_slo is not None
    assert with_slo.saturation_rps is None


@pytest.mark.parametrize(
    ("facts", "rate", "certified"),
    [
        ({"preliminary": True}, 2.0, False),
        ({"outcome": "inconclusive", "preliminary": False}, None, False),
    ],
)
def test_only_a_certified_rate_is_called_so(
    facts: dict[str, Any], rate: float | None, certified: bool
) -> None:
    plot = rate_plot([probe(1, 1.0)], P95, found(**facts))
    assert plot is not None
    assert (plot.rate_rps, plot.certified) == (rate, certified)


def test_a_search_that_never_came_to_an_open_loop_has_no_picture() -> None:
    assert rate_plot([probe(1, None, phase="closed", verdict="fail")], P95, None) is None
    assert rate_plot([probe(1, 1.0, quantiles=())], P95, None) is None
    assert rate_plot([], Slo(), None) is None


# -- which probe


@pytest.mark.parametrize(
    ("rate", "number"),
    [
        (found(rate_rps=2.0), 4),  # the last that passed at it
        (found(rate_rps=1.0), 1),
        (found(outcome="infeasible", rate_rps=None), 5),
        (None, 5),
    ],
)
def test_the_probe_that_is_shown(rate: RateResult | None, number: int) -> None:
    probes = [
        probe(1, 1.0),
        probe(2, 2.0, verdict="inconclusive"),
        probe(3, 2.0, phase="certify"),
        probe(4, 2.0, phase="certify"),
        probe(5, 2.5, verdict="fail"),
        probe(6, None, phase="closed"),
    ]
    shown = shown_probe(probes, rate)
    assert shown is not None
    assert shown.number == number
    assert shown_probe(probes[-1:], rate) is None


# -- completions


def test_a_constant_latency_lies_on_a_line_of_slope_one() -> None:
    sent = [float(at) for at in range(20)]
    data = completions(timings(sent, [at + 0.5 for at in sent], first=3, last=16))
    assert data is not None
    assert data.slope is not None
    assert data.slope.value == pytest.approx(1)
    assert data.intercept_s == pytest.approx(0.5)
    assert [int(np.count_nonzero(data.span == kind)) for kind in (-1, 0, 1)] == [3, 13, 4]


def test_requests_without_an_answer_are_counted_and_not_drawn() -> None:
    sent = [float(at) for at in range(6)]
    end = [1.0, 2.0, math.nan, 4.0, 5.0, math.nan]
    data = completions(timings(sent, end, last=5, errors={3: "HTTP 500"}))
    assert data is not None
    assert data.arrived_s.tolist() == [0.0, 1.0, 4.0]
    assert data.unanswered == 2
    assert data.slope is None  # three points have none
    assert completions(timings(sent, [math.nan] * 6)) is None


# -- in flight


def test_in_flight_counts_what_was_sent_and_has_not_ended() -> None:
    data = in_flight(timings([0.0, 1.0, 1.0, 4.0], [2.0, 4.0, 3.0, 5.0]))
    assert data is not None
    steps = dict(zip(data.time_s.tolist(), data.count.tolist(), strict=True))
    assert steps == {0.0: 1, 1.0: 3, 2.0: 2, 3.0: 1, 4.0: 1, 5.0: 0}
    assert data.measured_s == (0.0, 5.0)
    assert data.mean == pytest.approx((1 + 3 + 2 + 1 + 1) / 5)


def test_the_picture_ends_with_the_measured_requests_or_not_at_all() -> None:
    ended = in_flight(timings([0.0, 1.0, 2.0, 9.0], [3.0, 4.0, 8.0, math.nan], first=1, last=2))
    assert ended is not None
    assert ended.time_s.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert ended.count.tolist() == [1, 2, 3, 2, 1]
    stuck = in_flight(timings([0.0, 1.0, 2.0], [0.5, math.nan, math.nan]))
    assert stuck is not None
    assert stuck.count.tolist() == [1, 0, 1, 2]
    assert in_flight(timings([math.nan], [math.nan])) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=30))
def test_in_flight_is_littles_law(requests: list[tuple[int, int]]) -> None:
    requests.sort()
    sent, spans = [float(at) for at, _ in requests], [float(span) for _, span in requests]
    end = [at + span for at, span in zip(sent, spans, strict=True)]
    data = in_flight(timings(sent, end))
    assert data is not None
    assert int(data.count[-1]) == 0
    assert int(data.count.min()) >= 0
    assert data.mean is not None
    assert data.mean * (max(end) - min(sent)) == pytest.approx(sum(spans))
