from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.addresses import Address, allowed, is_address
from optikit.errors import SpecError, UnsafeInput


def test_an_address_is_what_was_written_without_the_slash_at_its_end() -> None:
    digest = "a" * 64
    address = Address.parse(f"https://host:8/a/rows.jsonl#sha256={digest}", "dataset.path")
    assert (address.scheme, address.place) == ("https", "host:8/a/rows.jsonl")
    assert address.sha256 == digest
    assert str(address) == f"https://host:8/a/rows.jsonl#sha256={digest}"
    assert str(Address.parse("s3://b/f/", "k")) == "s3://b/f"
    assert Address.parse("hf://ORG/NAME@v1", "k").place == "ORG/NAME@v1"


@pytest.mark.parametrize(
    "text",
    ["s3:/b", "s3://", "s3:///x", "s3://b/../c", "s3://b//c", "s3://b/ c", "s3://b/\n", "B://c",
     "s3://b#x", f"s3://b#sha256={'A' * 64}", "s3://" + "b" * 1100],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(SpecError, match=r"^model\.uri: "):
        Address.parse(text, "model.uri")


@pytest.mark.parametrize(
    "text", ["https://u:hush@host/f", "s3://KEY:hush@b/f", "s3://b/f?sig=hush"]
)
def test_what_may_carry_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        Address.parse(text, "model.uri")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("prefixes", "inside"),
    [
        (None, True),
        ((), False),
        (("s3://b/models",), True),
        (("s3://b/models/",), True),
        (("s3://b/models/llama",), True),
        (("s3://b/models/llam",), False),
        (("s3://",), True),
        (("hf://",), False),
        (("hf://", "s3://b/"), True),
    ],
)
def test_a_site_allows_what_lies_below_its_prefixes(
    prefixes: tuple[str, ...] | None, inside: bool
) -> None:
    address = Address.parse("s3://b/models/llama", "model.uri")
    if inside:
        allowed(address, prefixes, "model.uri")
        return
    with pytest.raises(UnsafeInput, match=r"model\.uri: s3://b/models/llama lies outside"):
        allowed(address, prefixes, "model.uri")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("mlflow://models:/team-m@certified", True),
        ("mlflow://models:/team-m/3", True),
        ("mlflow://models:/team-mine@certified", False),
        ("mlflow://models:/other@team-m", False),
    ],
)
def test_a_revision_is_not_another_place(text: str, inside: bool) -> None:
    address = Address.parse(text, "model.uri")
    if inside:
        allowed(address, ("mlflow://models:/team-m",), "model.uri")
        return
    with pytest.raises(UnsafeInput, match="outside the addresses"):
        allowed(address, ("mlflow://models:/team-m",), "model.uri")


@given(st.text())
def test_anything_is_an_address_or_one_clear_error(text: str) -> None:
    try:
        address = Address.parse(text, "k")
    except SpecError:
        return
    assert is_address(text) or address.scheme == "file"
    assert Address.parse(str(address), "k") == address
