"""What the workload leaves of the context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.dimensions import context_length
from optikit.errors import DoesNotFit
from optikit.spec.job import OptimizationJob
from optikit.spec.workload import Trace
from tests.specs import SMALL


def job(**workload: object) -> OptimizationJob:
    return OptimizationJob.parse(
        {"model": {"name": "m"}, "compute": {"sku": "CPU_2"}, "workload": workload}
    )


@given(low=st.integers(1, 500), more=st.integers(0, 500), output=st.integers(1, 1_000))
def test_the_longest_request_has_room(low: int, more: int, output: int) -> None:
    prompt = {"distribution": "uniform", "low": low, "high": low + more}
    need = low + more + output
    found = context_length(job(prompt_tokens=prompt, output_tokens=output), SMALL)
    assert need <= found <= SMALL.max_context
    assert found >= 1.15 * need or found == SMALL.max_context
    assert found == SMALL.max_context or found % 16 == 0
    assert found == context_length(job(prompt_tokens=low + more, output_tokens=output), SMALL)


@given(
    rows=st.lists(st.tuples(st.integers(1, 1_500), st.integers(1, 1_500)), min_size=2, max_size=9)
)
def test_the_longest_request_of_a_trace_has_room(rows: list[tuple[int, int]]) -> None:
    trace = Trace(
        source="t.csv",
        arrivals_s=tuple(float(k) for k in range(len(rows))),
        prompt_tokens=tuple(prompt for prompt, _ in rows),
        output_tokens=tuple(output for _, output in rows),
    )
    need = max(prompt + output for prompt, output in rows)
    if need > SMALL.max_context:
        with pytest.raises(DoesNotFit, match=rf"= {need} tokens; m has a context of 2048"):
            context_length(job(trace="t.csv"), SMALL, trace)
    else:
        assert need <= context_length(job(trace="t.csv"), SMALL, trace) <= SMALL.max_context
