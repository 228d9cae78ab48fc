from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import SpecError
from optikit.service.limits import Buckets, check_depth, check_text
from optikit.service.refusals import TooLarge, TooMany

JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_taken_then_as_many_as_the_rate_allows() -> None:
    clock = Clock()
    buckets = Buckets(60.0, 3, clock)
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(TooMany, match="60 a minute, 3 at once") as refused:
        buckets.take("a")
    assert refused.value.retry_after_s == 1
    buckets.take("b")  # another team's bucket is its own
    clock.now += 1.0
    buckets.take("a")
    with pytest.raises(TooMany):
        buckets.take("a")
    clock.now += 3600.0
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(TooMany):
        buckets.take("a")


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    clock = Clock()
    buckets = Buckets(60.0, 1, clock)
    buckets.take("a")
    clock.now -= 50.0
    with pytest.raises(TooMany) as refused:
        buckets.take("a")
    assert refused.value.retry_after_s == 1


def depth(data: Any) -> int:
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else None
    return 0 if parts is None else 1 + max((depth(part) for part in parts), default=0)


@given(JSON, st.integers(0, 6), st.booleans())
def test_depth_is_counted_as_a_parser_would(data: Any, most: int, ascii_only: bool) -> None:
    content = json.dumps(data, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    if depth(data) > most:
        with pytest.raises(TooLarge, match=f"deeper than {most}"):
            check_depth(content, most)
    else:
        check_depth(content, most)


def test_a_deep_request_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TooLarge):
        check_depth(b"[" * 1_000_000, 32)


@pytest.mark.parametrize("content", [b"", b"]]]]", b'"[[[', b"\xff\xfe", b'{"a": "\\"[[["}'])
def test_what_is_no_json_is_the_parsers_to_refuse(content: bytes) -> None:
    check_depth(content, 4)


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"model": {"name": "a\0b"}}, "spec.model.name"),
        ({"slo": ["fine", "\udfff"]}, "spec.slo.1"),
        ({"engine": {"a\ud800": 1}}, "spec.engine"),
    ],
)
def test_text_that_no_file_or_database_can_hold_is_refused_with_its_key(
    spec: dict[str, Any], key: str
) -> None:
    with pytest.raises(SpecError, match=key):
        check_text(spec)


def test_all_other_text_is_taken() -> None:
    check_text({"ü": ["日本", "\U0001f600", "\n", 1, None, 2.5, True]})
