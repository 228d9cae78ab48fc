"""The load of a probe: what is measured, at which rate, and what a seed decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optikit.core.load import Load, plan_load
from optikit.spec.workload import Trace, Workload

RANDOM = Workload.parse(
    {
        "prompt_tokens": {"distribution": "lognormal", "mean": 80, "std": 60, "high": 900},
        "output_tokens": {"distribution": "uniform", "low": 2, "high": 30},
        "prefix_tokens": 0,
    }
)
RNG = np.random.default_rng(0)
TRACE = Trace(
    source="t.csv",
    arrivals_s=(0.0, *np.cumsum(RNG.exponential(size=49)).tolist()),
    prompt_tokens=tuple(range(100, 150)),
    output_tokens=tuple(range(1, 51)),
)
LOADS: list[tuple[Workload, Trace | None]] = [
    (RANDOM, None),
    (RANDOM.model_copy(update={"arrivals": "constant"}), None),
    (RANDOM.model_copy(update={"arrivals": "gamma", "burstiness": 0.2}), None),
    (Workload(arrivals="trace", trace="t.csv"), TRACE),
    (Workload(arrivals="poisson", trace="t.csv"), TRACE),
]
loads = st.sampled_from(LOADS)
sizes = st.tuples(st.integers(0, 30), st.integers(1, 60), st.integers(0, 30))


def planned(
    which: tuple[Workload, Trace | None], rate: float | None, parts: Any, seed: int
) -> Load:
    before, count, after = parts
    return plan_load(which[0], rate, count, seed, before=before, after=after, trace=which[1])


@given(loads, sizes, st.floats(0.01, 1e3), st.integers(0, 2**40))
def test_each_span_has_the_offered_rate(
    which: tuple[Workload, Trace | None], parts: tuple[int, int, int], rate: float, seed: int
) -> None:
    load = planned(which, rate, parts, seed)
    before, count, after = parts
    assert len(load) == len(load.prompt_tokens) == len(load.output_tokens) == sum(parts)
    assert (load.first, load.last, load.measured) == (before, before + count, count)
    assert np.all(np.diff(load.at_s) >= 0)
    edges = np.cumsum([0, before, count, after]) / rate
    slack = 1e-9 * edges[-1]
    for part, low, high in zip(
        np.split(load.at_s, [before, before + count]), edges[:-1], edges[1:], strict=True
    ):
        assert np.all((part >= low - slack) & (part <= high + slack))


@given(loads, sizes, st.integers(0, 2**40))
def test_a_seed_decides_all_and_the_rate_only_the_times(
    which: tuple[Workload, Trace | None], parts: tuple[int, int, int], seed: int
) -> None:
    one, same, faster, closed = (planned(which, rate, parts, seed) for rate in (2, 2, 5, None))
    assert np.array_equal(one.at_s, same.at_s)
    assert np.allclose(one.at_s, faster.at_s * 2.5)
    assert not closed.at_s.any()
    for other in (same, faster, closed):
        assert np.array_equal(one.prompt_tokens, other.prompt_tokens)
        assert np.array_equal(one.output_tokens, other.output_tokens)


@pytest.mark.parametrize("which", LOADS)
def test_another_seed_another_load(which: tuple[Workload, Trace | None]) -> None:
    one, other = (planned(which, 2.0, (5, 40, 5), seed) for seed in (1, 2))
    assert not np.array_equal(one.prompt_tokens, other.prompt_tokens)
    if which[0].arrivals != "constant":
        assert not np.allclose(one.at_s, other.at_s)


def test_prompt_and_output_lengths_are_independent() -> None:
    load = plan_load(RANDOM, 1.0, 20_000, seed=1)
    assert abs(np.corrcoef(load.prompt_tokens, load.output_tokens)[0, 1]) < 0.03
    gaps = np.diff(load.at_s)
    assert abs(np.corrcoef(load.prompt_tokens[1:], gaps)[0, 1]) < 0.03


def test_the_spans_around_do_not_change_what_is_measured() -> None:
    alone = plan_load(RANDOM, 3.0, 50, seed=4)
    within = plan_load(RANDOM, 3.0, 50, seed=4, before=7, after=9)
    assert np.allclose(within.at_s[7:57] - 7 / 3.0, alone.at_s)
    assert np.array_equal(within.prompt_tokens[7:57], alone.prompt_tokens)


def test_a_trace_is_replayed_row_after_row() -> None:
    load = planned(LOADS[3], 2.0, (10, 30, 10), seed=3)
    rows = load.prompt_tokens - 100
    assert np.all(np.diff(rows) % 50 == 1)
    assert np.array_equal(load.output_tokens, rows + 1)
    # arrivals are those of the same rows
    inside = [i for i in range(11, 40) if rows[i] != 0]
    recorded = np.diff(TRACE.columns.arrivals_s, prepend=0.0)[rows[inside]]
    found = np.diff(load.at_s)[np.array(inside) - 1]
    assert np.allclose(found / recorded, (found / recorded)[0])


def test_probes_begin_at_different_rows() -> None:
    firsts = {planned(LOADS[3], 1.0, (0, 2, 0), seed).prompt_tokens[0] for seed in range(300)}
    assert len(firsts) > 40


def test_refusals() -> None:
    with pytest.raises(ValueError, match="give its rows"):
        plan_load(Workload(trace="t.csv"), 1.0, 5, seed=0)
    with pytest.raises(ValueError, match="give its rows"):
        plan_load(Workload(), 1.0, 5, seed=0, trace=TRACE)
    with pytest.raises(ValueError, match="cannot plan"):
        plan_load(Workload(), 1.0, 5, seed=0, before=-1)


@settings(deadline=None)
@given(loads, st.integers(0, 2**40))
def test_prompts_have_the_planned_sizes(which: tuple[Workload, Trace | None], seed: int) -> None:
    load = planned(which, 1.0, (3, 20, 3), seed)
    made = load.prompts(vocab=5_000)
    assert [len(ids) for ids in made] == load.prompt_tokens.tolist()
    assert len(set(made)) == len(made)
