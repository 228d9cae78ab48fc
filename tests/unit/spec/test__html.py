"""Data in a notebook: whole, folded where deep, and never markup of its own."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from optikit.spec._html import facts, table
from optikit.spec.job import OptimizationJob

PLAIN = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
OURS = {
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "p"),
    *("details", "summary", "ol", "li"),
}


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(html: str) -> Seen:
    found = Seen()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
def test_whatever_the_data_says_the_markup_is_ours(title: str, fields: dict[str, Any]) -> None:
    assert seen(facts(title, fields)).tags <= OURS


def test_what_has_fields_of_its_own_is_folded() -> None:
    found = seen(facts("Job", {"model": {"name": "a<b", "size": 1.23456}, "stages": [{"n": 1}]}))
    assert "details" in found.tags
    for word in ("a<b", "1.235", "1 items", "2 fields"):
        assert word in found.text


def test_rows_that_are_left_out_are_said() -> None:
    assert "and 3 more" in seen(table(("a",), [{"a": 1}], "x", 3)).text
    assert "more" not in seen(table(("a",), [{"a": 1}], "x")).text


def test_every_spec_shows_its_fields() -> None:
    job = OptimizationJob.parse(
        {"model": {"name": "qwen-2.5-7b"}, "compute": {"sku": "H100_1"}, "slo": ["p95(e2e) <= 1 s"]}
    )
    found = seen(job._repr_html_())
    assert "OptimizationJob" in found.text
    assert "H100_1" in found.text
    assert "details" in found.tags
