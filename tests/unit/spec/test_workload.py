"""The workload: its forms of a length, what contradicts, what a trace must be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import SpecError
from optikit.spec.workload import Length, Trace, Workload

LOGNORMAL = {"distribution": "lognormal", "mean": 80.5, "std": 60.0, "low": 9, "high": 900}
ROWS = {"arrivals_s": (0.0, 2.0, 3.0), "prompt_tokens": (40, 30, 5), "output_tokens": (1, 9, 2)}


def trace(**changes: Any) -> Trace:
    return Trace.parse({"source": "t.csv", **ROWS, **changes})


def test_a_number_is_still_a_number_in_records() -> None:
    workload = Workload.parse({"prompt_tokens": 5000, "output_tokens": 500})
    facts = workload.model_dump(mode="json")
    assert (facts["prompt_tokens"], facts["output_tokens"]) == (5000, 500)
    assert Workload.model_validate(facts) == workload
    assert str(workload) == "5000 prompt + 500 output tokens, poisson arrivals"


@st.composite
def any_form(draw: st.DrawFn) -> Any:
    low = draw(st.integers(1, 1_000))
    high = draw(st.integers(low, 10_000))
    kind = draw(st.sampled_from(["fixed", "uniform", "normal", "lognormal"]))
    if kind == "fixed":
        return low
    if kind == "uniform":
        return {"distribution": kind, "low": low, "high": high}
    mean, std = draw(st.floats(low, high)), draw(st.floats(0, 1e4))
    return {"distribution": kind, "mean": mean, "std": std, "low": low, "high": high}


@given(any_form())
def test_every_form_reads_back(form: Any) -> None:
    length = Length.parse(form)
    assert length.model_dump(mode="json") == form
    assert Length.model_validate_json(json.dumps(form)) == length
    assert length.low <= length.mean <= length.high


def test_low_is_one_where_it_is_not_given() -> None:
    assert Length.parse({"distribution": "normal", "mean": 9, "std": 2, "high": 20}).low == 1


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (0, "a whole number of at least 1"),
        (True, "a whole number of at least 1"),
        (1.5, "a whole number of at least 1"),
        ("512", "a whole number of at least 1"),
        (10**9, "a whole number of at least 1"),
        ({"distribution": "uniform", "low": 3}, "a uniform length lacks high"),
        ({"distribution": "lognormal", "mean": 3}, "a lognormal length lacks high, std"),
        ({}, "a fixed length lacks mean"),
        ({"distribution": "zipf", "mean": 3}, "'fixed', 'uniform', 'normal' or 'lognormal'"),
        ({"distribution": "uniform", "low": "1", "high": 3}, "low must be a number, found '1'"),
        ({"distribution": "uniform", "low": 5, "high": 3}, "must be in this order"),
        ({"distribution": "uniform", "low": 1, "high": 3, "mean": 3}, "leave mean out"),
        ({"distribution": "uniform", "low": 1, "high": 3, "std": 1}, "std belongs to"),
        ({"mean": 5, "low": 1, "high": 9}, "cannot go from 1 to 9"),
        ({**LOGNORMAL, "mean": 1000}, "low (9), mean (1000) and high (900)"),
        ({**LOGNORMAL, "std": -1}, "greater than or equal to 0"),
        ({**LOGNORMAL, "std": float("inf")}, "finite"),
        ({**LOGNORMAL, "hihg": 3}, "did you mean 'high'?"),
    ],
)
def test_no_length(form: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        Workload.parse({"prompt_tokens": form})
    assert words in str(caught.value)
    assert "prompt_tokens" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"arrivals": "trace"}, "needs trace: the file"),
        ({"trace": "  "}, "an empty file name"),
        ({"burstiness": 2.0}, "belongs to arrivals: gamma, not to poisson"),
        ({"arrivals": "gamma", "burstiness": 0}, "greater than 0"),
        ({"prompt_tokens": LOGNORMAL, "prefix_tokens": 9}, "smaller than the shortest"),
        ({"trace": "t.csv", "output_tokens": 9}, "the trace gives the lengths"),
        ({"distinct_prompts": 0}, "greater than or equal to 1"),
    ],
)
def test_contradictions(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        Workload.parse(spec)
    assert words in str(caught.value)


def test_in_words() -> None:
    spec = {"prompt_tokens": LOGNORMAL, "prefix_tokens": 4, "arrivals": "gamma", "burstiness": 0.5}
    assert str(Workload.parse(spec)) == (
        "lognormal 80.5 +- 60 (at most 900) prompt (4 shared) + 128 output tokens, "
        "gamma (0.5) arrivals"
    )
    unread = Workload(trace="t.csv", arrivals="trace")
    assert str(unread) == "prompts and outputs, trace arrivals (requests of t.csv)"
    assert str(unread.with_lengths_of(trace())).startswith("5 to 40 prompt + 1 to 9 output tokens")


def test_lengths_of_a_trace_stand_in_for_planning() -> None:
    given_ = Workload(trace="t.csv", prefix_tokens=4)
    planned = given_.with_lengths_of(trace())
    assert (planned.prompt_tokens.low, planned.prompt_tokens.high) == (5, 40)
    assert planned.prompt_tokens.mean == 25
    assert planned.output_tokens.mean == 4
    assert planned.total_tokens == 49
    assert Workload.model_validate(given_.model_dump(mode="json")) == given_
    with pytest.raises(SpecError, match=r"request 3 of t\.csv has 5"):
        Workload(trace="t.csv", prefix_tokens=5).with_lengths_of(trace())


def test_facts_of_a_trace() -> None:
    one = trace()
    assert one.rate_rps == pytest.approx(2 / 3)
    assert one.longest == 0
    assert one.digest == trace(source="elsewhere").digest
    assert one.digest != trace(output_tokens=(1, 9, 3)).digest
    assert one == trace()
    assert one != trace(source="elsewhere")
    assert one.facts["span_s"] == 3.0
    assert Trace.model_validate_json(one.model_dump_json()) == one
    with pytest.raises(ValueError, match="read-only"):
        one.columns.prompt_tokens[0] = 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrivals_s": (0.0, 2.0, 1.0)}, "in order"),
        ({"arrivals_s": (1.0, 2.0, 3.0)}, "begin at 0"),
        ({"arrivals_s": (0.0, 0.0, 0.0)}, "one instant"),
        ({"arrivals_s": (0.0,)}, "at least 2"),
        ({"output_tokens": (1, 2)}, "3 arrivals, 3 prompt and 2 output"),
        ({"output_tokens": (1, 0, 2)}, "output lengths must lie between 1"),
    ],
)
def test_no_trace(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        trace(**changes)
    assert words in str(caught.value)
