from __future__ import annotations

from typing import Any, Literal

import pytest

from optikit.core.promotion import (
    checked_alias,
    earlier,
    headline,
    names_by_itself,
    parse_reference,
    why_not_certified,
)
from optikit.errors import BadInput
from optikit.spec.published import AliasMove, PublishedModel, PublishedVersion

How = Literal["publish", "promote", "rollback"]
CERTIFIED = {
    "status": "certified",
    "quality": "kept",
    "certified_rate_rps": "4.25",
    "sku": "H100_2",
}


def version(tags: dict[str, str]) -> PublishedVersion:
    return PublishedVersion(name="m", version="3", created="2026-11-27", tags=tags)


def moved(*steps: tuple[str | None, str, How], now: str | None = None) -> PublishedModel:
    """A model whose alias ``certified`` went these ways."""
    moves = [
        AliasMove(alias="certified", before=a, after=b, at=str(n), by="me", how=how)
        for n, (a, b, how) in enumerate(steps)
    ]
    other = AliasMove(alias="candidate", before=None, after="9", at="9", by="me", how="publish")
    named = now or (steps[-1][1] if steps else None)
    return PublishedModel(
        name="m", aliases={"certified": named} if named else {}, moves=(*moves, other)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("m", ("m", None, None)),
        ("m-int_w8a8:12", ("m-int_w8a8", "12", None)),
        ("m/12", ("m", "12", None)),
        ("qwen2.5@certified", ("qwen2.5", None, "certified")),
    ],
)
def test_references(text: str, found: tuple[str, str | None, str | None]) -> None:
    assert parse_reference(text) == found


@pytest.mark.parametrize("text", ["", "m:", "m:v1", "m@", "../m", "a/b/1", "m:1@x", "m:1\n", "m'"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(BadInput, match="NAME:VERSION"):
        parse_reference(text)


@pytest.mark.parametrize("alias", ["", "3", "v3", "latest", "a b", "a.b", "x" * 256])
def test_what_can_be_no_alias(alias: str) -> None:
    with pytest.raises(BadInput, match="can be no alias"):
        checked_alias(alias)
    assert checked_alias("certified-eu_1") == "certified-eu_1"


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        (CERTIFIED, None),
        ({**CERTIFIED, "quality": "not compared"}, None),
        ({**CERTIFIED, "quality": "cannot tell"}, None),
        ({**CERTIFIED, "quality": "lost"}, "the quality gate says lost"),
        ({**CERTIFIED, "status": "preliminary"}, "its certificate is preliminary"),
        ({**CERTIFIED, "status": "negative"}, "its certificate is negative"),
        ({"status": "not measured"}, "it has no certificate"),
        ({}, "no job of OptiKIT published it"),
        ({**CERTIFIED, "optikit.simulated": "SIMULATED"}, "it is simulated"),
    ],
)
def test_what_may_be_called_certified(tags: dict[str, str], why: str | None) -> None:
    found = why_not_certified(version(tags))
    assert (found is None) if why is None else (found is not None and why in found)


@pytest.mark.parametrize(
    ("model", "before"),
    [
        (moved(), None),
        (moved((None, "1", "publish")), None),
        (moved((None, "1", "publish"), ("1", "2", "publish")), "1"),
        (moved(("7", "8", "promote")), "7"),
        (
            moved(
                (None, "1", "publish"),
                ("1", "2", "publish"),
                ("2", "3", "promote"),
                ("3", "2", "rollback"),
            ),
            "1",
        ),
        (
            moved(
                (None, "1", "publish"),
                ("1", "2", "publish"),
                ("2", "1", "rollback"),
                ("1", "4", "promote"),
            ),
            "1",
        ),
        (moved((None, "1", "publish"), ("1", "2", "publish"), ("2", "1", "rollback")), None),
        # noted, and then the registry did not answer: it still names 1
        (moved((None, "1", "publish"), ("1", "2", "promote"), now="1"), None),
        # moved by hand from 2 to 5
        (moved((None, "1", "publish"), ("1", "2", "publish"), now="5"), "2"),
        (moved((None, "1", "publish"), ("1", "2", "promote"), ("2", "1", "promote")), "2"),
    ],
)
def test_what_an_alias_named_before(model: PublishedModel, before: str | None) -> None:
    assert earlier(model, "certified") == before


def test_the_newest_version_takes_an_alias_once() -> None:
    none = PublishedModel(name="m")
    assert names_by_itself(none, "certified", "1")
    one = moved((None, "1", "publish"))
    assert names_by_itself(one, "certified", "2")
    assert not names_by_itself(one, "certified", "1"), "told again"
    back = moved((None, "1", "publish"), ("1", "2", "publish"), ("2", "1", "rollback"))
    assert not names_by_itself(back, "certified", "2"), "a person took it off"
    assert names_by_itself(back, "certified", "3")
    before_there_was_a_history = PublishedModel(name="m", aliases={"certified": "2"})
    assert not names_by_itself(before_there_was_a_history, "certified", "1")


def test_the_headline_has_plain_values() -> None:
    found: dict[str, Any] = headline(version(CERTIFIED | {"optikit.job_id": "j1"}))
    assert found["certified_rate_rps"] == 4.25
    assert (found["version"], found["job"], found["sku"]) == ("3", "j1", "H100_2")
    assert headline(version({"certified_rate_rps": "fast"}))["certified_rate_rps"] is None
