"""The simulated server: against a slow one written step by step, and what must always hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optikit.core import _batching, simulate
from optikit.core.load import Load, plan_load
from optikit.core.simulate import SimulatedRun, SimulatedServer
from optikit.core.steptimes import StepTimes
from optikit.errors import DoesNotFit
from optikit.spec.workload import Workload
from tests.unit.core.step_by_step import serve


def times(budget: int, *, kv_s: float = 1e-6, attention_s: float = 2e-7) -> StepTimes:
    """Linear layers as a roofline has them: flat, then growing with the tokens of the step."""
    linear = np.maximum(2e-3, 5e-5 * np.arange(budget + 1))
    return StepTimes(linear, kv_s, attention_s, step_s=1e-3, seq_s=2e-5, source="test")


def server(seats: int = 4, budget: int = 32, kv: int = 200, **more: Any) -> SimulatedServer:
    noise = more.pop("noise", 0.0)
    return SimulatedServer(times(budget, **more), seats, budget, kv, noise)


def load(
    prompt: Any = 20, output: Any = 8, rate: float | None = 20.0, count: int = 40, **more: Any
) -> Load:
    seed = more.pop("seed", 1)
    around = {key: more.pop(key) for key in ("before", "after") if key in more}
    workload = Workload.parse({"prompt_tokens": prompt, "output_tokens": output, **more})
    return plan_load(workload, rate, count, seed, **around)


def uniform(low: int, high: int) -> Any:
    return low if low == high else {"distribution": "uniform", "low": low, "high": high}


@st.composite
def cases(draw: Any) -> tuple[SimulatedServer, Load, int | None]:
    """A small server and a load on it, idle to overloaded, with room for every single request."""
    prefix = draw(st.sampled_from([0, 0, 7]))
    prompt = draw(st.tuples(st.integers(1, 40), st.integers(0, 40)))
    output = draw(st.tuples(st.integers(1, 20), st.integers(0, 20)))
    longest = prefix + sum(prompt) + sum(output)
    concurrency = draw(st.none() | st.integers(1, 8))
    planned = load(
        uniform(prefix + prompt[0], prefix + sum(prompt)),
        uniform(output[0], sum(output)),
        None if concurrency else draw(st.sampled_from([2.0, 20.0, 100.0, 2000.0])),
        draw(st.integers(1, 30)),
        seed=draw(st.integers(0, 1000)),
        prefix_tokens=prefix,
        before=draw(st.integers(0, 3)),
        after=draw(st.integers(0, 3)),
    )
    seats = draw(st.integers(1, 6))
    budget = draw(st.integers(1, 64))
    kv = longest + draw(st.sampled_from([0, 1, 5, 50, 1000]))
    return (server(seats, budget, kv, kv_s=draw(st.sampled_from([0.0, 1e-6, 1e-4]))),
            planned, concurrency)  # fmt: skip


def whole(planned: Load) -> Load:
    """All requests measured, so that the run ends when all have ended."""
    return replace(planned, first=0, last=len(planned))


def same(one: SimulatedRun, other: SimulatedRun) -> None:
    for name in ("scheduled_s", "sent_s", "first_token_s", "end_s", "token_s"):
        a, b = getattr(one.timings, name), getattr(other.timings, name)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert replace(one, timings=other.timings) == other


# ---- the slow one


@settings(max_examples=300)
@given(cases())
def test_every_time_is_that_of_a_simulation_step_by_step(
    case: tuple[SimulatedServer, Load, int | None],
) -> None:
    fast, planned, concurrency = case
    found = fast.run(planned, concurrency=concurrency, keep_tokens=True)
    slow = serve(fast, planned, concurrency)
    done = planned.last  # requests behind may be open when the last measured one ends
    order = [("scheduled_s", slow.at_s), ("first_token_s", slow.first_s), ("end_s", slow.end_s)]
    for name, expected in order:
        np.testing.assert_allclose(
            getattr(found.timings, name)[:done], expected[:done], rtol=0, atol=1e-9, err_msg=name
        )
    offsets = found.timings.token_offsets
    assert offsets is not None
    assert found.timings.token_s is not None
    for index in range(planned.first, planned.last):
        tokens = found.timings.token_s[offsets[index] : offsets[index + 1]]
        np.testing.assert_allclose(tokens, slow.tokens[index], rtol=0, atol=1e-9)
    facts = (found.steps, found.preemptions, found.most_held_tokens, found.held_tokens)
    assert facts == (slow.steps, slow.preemptions, slow.most_held, slow.held)
    assert found.open_requests == slow.open
    assert found.mean_running == pytest.approx(slow.occupied / max(slow.steps, 1))


def test_one_request_by_hand() -> None:
    # prefill of 20 tokens: 2 ms + 1 ms + 20 us + 2e-7 * 20 * 10; then contexts of 20, 21 and 22
    found = server().run(load(output=4, count=1, rate=None), concurrency=1)
    first = 2e-3 + 1e-3 + 2e-5 + 2e-7 * 20 * 10
    assert found.timings.first_token_s == pytest.approx([first], abs=1e-12)
    rest = 3 * (3e-3 + 2e-5) + 1e-6 * (20 + 21 + 22)
    assert found.timings.end_s == pytest.approx([first + rest], abs=1e-12)
    assert (found.steps, found.most_held_tokens, found.mean_running) == (4, 23, 1.0)


def test_a_long_prompt_takes_as_many_steps_as_the_budget_makes_it() -> None:
    found = server(budget=16).run(load(prompt=40, output=1, count=1, rate=None), concurrency=1)
    assert found.steps == 3
    linear = 3 * (2e-3 + 1e-3 + 2e-5)
    attention = 2e-7 * (16 * 8 + 16 * (16 + 8) + 8 * (32 + 4))
    assert found.timings.end_s == pytest.approx([linear + attention], abs=1e-12)
    assert found.timings.first_token_s == pytest.approx(found.timings.end_s)


def test_the_shared_prefix_costs_no_prefill_but_is_read() -> None:
    plain = load(prompt=20, output=2, count=1, rate=None)
    shared = load(prompt=120, prefix_tokens=100, output=2, count=1, rate=None)
    one = server(kv=200, attention_s=0.0).run(plain, concurrency=1).timings.end_s[0]
    other = server(kv=200, attention_s=0.0).run(shared, concurrency=1).timings.end_s[0]
    assert other - one == pytest.approx(1e-6 * 100)


# ---- what always holds


@settings(max_examples=100)
@given(cases(), st.sampled_from([0.0, 0.1]))
def test_nothing_is_lost(case: tuple[SimulatedServer, Load, int | None], noise: float) -> None:
    quiet, planned, concurrency = case
    used, planned = replace(quiet, noise=noise), whole(planned)
    found = used.run(planned, concurrency=concurrency, keep_tokens=True)
    seen = found.timings
    assert seen.ok.all()
    assert (found.held_tokens, found.open_requests) == (0, 0)
    assert found.most_held_tokens <= used.kv_tokens - planned.workload.prefix_tokens
    assert found.mean_running <= used.max_num_seqs
    assert seen.output_tokens.tolist() == planned.output_tokens.tolist()
    assert seen.prompt_tokens.tolist() == planned.prompt_tokens.tolist()
    assert (seen.first_token_s > seen.sent_s).all()
    single = planned.output_tokens == 1
    assert (seen.first_token_s[single] == seen.end_s[single]).all()
    assert (seen.first_token_s[~single] < seen.end_s[~single]).all()
    if noise == 0:
        least = used.times.linear_s[0] + used.times.step_s + used.times.seq_s
        took = seen.end_s - seen.sent_s
        assert (took >= least * planned.output_tokens - 1e-9).all()
    tokens, offsets = seen.token_s, seen.token_offsets
    assert tokens is not None
    assert offsets is not None
    for index in range(len(planned)):
        own = tokens[offsets[index] : offsets[index + 1]]
        assert len(own) == planned.output_tokens[index]
        assert (np.diff(own) > 0).all()
        assert own[0] == pytest.approx(seen.first_token_s[index], abs=1e-12)
        assert own[-1] == pytest.approx(seen.end_s[index], abs=1e-12)
    if concurrency:
        assert _most_in_flight(found) == min(concurrency, len(planned))
    else:
        assert seen.sent_s.tolist() == planned.at_s.tolist()


def _most_in_flight(found: SimulatedRun) -> int:
    """Requests sent and not ended at once; one that ends at an instant makes room for the next."""
    sent, end = np.sort(found.timings.sent_s), np.sort(found.timings.end_s)
    ended = np.searchsorted(end, sent, side="right")
    return int((np.arange(1, len(sent) + 1) - ended).max())


def test_first_come_first_served() -> None:
    for rate in (20.0, 200.0, 2000.0):
        found = server(kv=60).run(load(rate=rate)).timings
        assert (np.diff(found.first_token_s) >= 0).all()
    assert found.first_token_s[-1] - found.sent_s[-1] > 0.1  # there was a queue


def test_a_small_cache_preempts_and_still_serves_all() -> None:
    planned = load(prompt=20, output=20, rate=2000.0)
    small, large = server(kv=60).run(planned), server(kv=1000).run(planned)
    assert small.preemptions > 5
    assert large.preemptions == 0
    assert small.timings.ok.all()
    assert small.most_held_tokens <= 60
    assert small.timings.end_s.max() > large.timings.end_s.max()


def test_never_more_seats_than_there_are() -> None:
    found = server(seats=3, kv=10_000).run(load(rate=2000.0, count=200))
    assert 2.5 < found.mean_running <= 3
    few = server(seats=3, kv=10_000).run(load(rate=1.0, count=200))
    assert few.mean_running < 1.2


def test_what_does_not_fit_is_refused() -> None:
    planned = load(prompt=40, output=11, count=3)
    with pytest.raises(DoesNotFit, match="51 tokens does not fit a KV cache of 50"):
        server(kv=50).run(planned)
    assert server(kv=51).run(planned).timings.ok.all()
    shared = load(prompt=40, output=11, prefix_tokens=30, count=3)
    with pytest.raises(DoesNotFit):
        server(kv=50).run(shared)


def test_the_deadline_cuts() -> None:
    planned = load(rate=100.0, count=100)
    cut, full = server(seats=1).run(planned, timeout_s=0.5), server(seats=1).run(planned)
    known = full.timings.end_s <= 0.5
    assert 5 < known.sum() < 95
    np.testing.assert_array_equal(cut.timings.end_s[known], full.timings.end_s[known])
    assert cut.open_requests > 0
    assert cut.held_tokens > 0


def test_requests_behind_the_measured_ones_need_not_end() -> None:
    planned = load(rate=100.0, count=30, before=5, after=100)
    found = server().run(planned).timings
    assert found.measured().ok.all()
    assert not found.ok[-1]
    assert found.output_tokens[-1] == 0
    assert np.isnan(found.sent_s[-1])


def test_an_empty_load() -> None:
    assert len(server().run(load(count=0)).timings) == 0


# ---- noise and repetition


def test_the_same_seed_gives_the_same_times() -> None:
    noisy, planned = server(noise=0.1), load(seed=3)
    same(noisy.run(planned, seed=5), noisy.run(planned, seed=5))
    other = noisy.run(planned, seed=6).timings.end_s
    assert (noisy.run(planned, seed=5).timings.end_s != other).any()
    assert server().run(planned, seed=5).timings.end_s == pytest.approx(
        server().run(planned, seed=6).timings.end_s
    )


def test_noise_has_the_spread_that_was_asked_for() -> None:
    planned = load(prompt=20, output=1, rate=None, count=4000)
    ends = server(noise=0.1).run(planned, concurrency=1).timings
    took = ends.end_s - ends.sent_s
    quiet = server().run(planned, concurrency=1).timings.end_s[0]
    assert np.mean(took) == pytest.approx(quiet, rel=0.01)
    assert np.std(took) / quiet == pytest.approx(0.1, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from([0.0, 0.1]))
def test_plain_python_and_compiled_agree(
    case: tuple[SimulatedServer, Load, int | None], noise: float
) -> None:
    quiet, planned, concurrency = case
    used = replace(quiet, noise=noise)
    compiled = used.run(planned, concurrency=concurrency, keep_tokens=True)
    kept = simulate._compiled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "_compiled", lambda: _batching.run)
        plain = used.run(planned, concurrency=concurrency, keep_tokens=True)
    assert simulate._compiled is kept
    same(compiled, plain)


def test_token_times_do_not_change_the_rest() -> None:
    planned = load(rate=200.0)
    with_tokens = server(noise=0.05).run(planned, keep_tokens=True)
    without = server(noise=0.05).run(planned)
    np.testing.assert_array_equal(with_tokens.timings.end_s, without.timings.end_s)
    assert without.timings.token_s is None
    assert math.isfinite(float(np.max(with_tokens.timings.end_s)))
