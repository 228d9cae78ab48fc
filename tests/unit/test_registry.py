"""Rules of promotion with a registry in memory; real ones are in tests/integration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from optikit.errors import BadInput, OptikitError, UnknownName
from optikit.registry import promote_model, published_model, published_models, rollback_model
from optikit.spec.published import AliasMove, PublishedModel, PublishedVersion
from optikit.stores.contents import model_digest
from optikit.trackers import TRACKERS, none
from tests.unit.stages.publish_case import model_folder


class Registry:
    """One model; moves are made as asked."""

    name = "memory"

    def __init__(self) -> None:
        self.one = PublishedModel(name="m")
        self.tags: list[tuple[str, str, str]] = []
        self.kept: dict[str, bytes] = {}

    @contextmanager
    def registry(self, home: Path) -> Iterator[Any]:
        yield self

    def models(self) -> list[PublishedModel]:
        return [self.one]

    def model(self, name: str) -> PublishedModel:
        if name != "m":
            raise UnknownName(name)
        return self.one

    def publish(self, folder: Path, status: str = "certified") -> Path:
        """The next version, with its bundle."""
        number = str(len(self.one.versions) + 1)
        bundle = folder / f"bundle-{number}"
        model_folder(bundle / "model", number.encode(), licence=True)
        (bundle / "certificate.json").write_text(number)
        tags = {
            "status": status,
            "bundle": str(bundle),
            "model_digest": model_digest(bundle / "model"),
            "certificate_digest": f"sha256:{hashlib.sha256(number.encode()).hexdigest()}",
        }
        made = PublishedVersion(name="m", version=number, created="", tags=tags)
        self.one = self.one.model_copy(update={"versions": (*self.one.versions, made)})
        self.move("m", "certified", number, "job", "publish")
        return bundle

    def move(
        self,
        name: str,
        alias: str,
        version: str,
        by: str,
        how: Literal["publish", "promote", "rollback"],
        why: str | None = None,
    ) -> AliasMove:
        before = self.one.aliases.get(alias)
        move = AliasMove(
            alias=alias, before=before, after=version, at="now", by=by, how=how, why=why
        )
        self.one = self.one.model_copy(
            update={
                "aliases": {**self.one.aliases, alias: version},
                "moves": (*self.one.moves, move),
            }
        )
        return move

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        self.tags.append((version, key, value))

    def files(self, version: PublishedVersion) -> dict[str, int]:
        return {name: len(content) for name, content in self.kept.items()}

    def text(self, version: PublishedVersion, name: str) -> bytes | None:
        return self.kept.get(name)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    monkeypatch.setattr(TRACKERS, "load", lambda name: found)
    return found


def test_two_rollbacks_go_back_by_two(there: Registry, tmp_path: Path) -> None:
    for _ in range(3):
        there.publish(tmp_path)
    assert [rollback_model("m").after for _ in range(2)] == ["2", "1"]
    with pytest.raises(BadInput, match="nothing is known that it named before"):
        rollback_model("m")
    assert promote_model("m:3").before == "1"
    assert rollback_model("m").after == "1"


def test_an_alias_that_names_it_already_is_not_moved(there: Registry, tmp_path: Path) -> None:
    there.publish(tmp_path)
    with pytest.raises(BadInput, match="certified of m is version 1 already"):
        promote_model("m@certified")
    with pytest.raises(BadInput, match="names no version; write m:VERSION, one of 1"):
        promote_model("m")
    with pytest.raises(BadInput, match="give the model's name alone"):
        rollback_model("m:1")


@pytest.mark.parametrize("harm", ["weights", "certificate", "gone"])
def test_what_is_not_what_was_published_is_refused(
    there: Registry, tmp_path: Path, harm: str
) -> None:
    first = there.publish(tmp_path)
    there.publish(tmp_path)
    if harm == "weights":
        (first / "model" / "config.json").write_text('{"changed": 1}')
    elif harm == "certificate":
        (first / "certificate.json").write_text("2")
    else:
        first.rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="--anyway REASON"):
        rollback_model("m")
    with pytest.raises(BadInput, match="--anyway REASON"):
        promote_model("m:1")
    assert there.one.aliases == {"certified": "2"}
    assert there.tags == []
    promote_model("m:1", "canary")
    assert rollback_model("m", anyway="fire").why is not None
    ((version, key, value),) = there.tags
    assert (version, key) == ("1", "optikit.promoted_anyway")
    assert "fire" in value


def test_an_empty_reason_is_none(there: Registry, tmp_path: Path) -> None:
    there.publish(tmp_path)
    there.publish(tmp_path, "negative")
    there.move("m", "certified", "1", "me", "promote")
    with pytest.raises(BadInput, match="its certificate is negative"):
        promote_model("m:2", anyway="  ")


def test_a_reason_is_noted_only_where_it_was_needed(there: Registry, tmp_path: Path) -> None:
    for _ in range(2):
        there.publish(tmp_path)
    assert rollback_model("m", anyway="to be sure").why is None
    assert there.tags == []


def test_a_model_that_the_registry_itself_keeps_is_there(there: Registry, tmp_path: Path) -> None:
    first = there.publish(tmp_path)
    there.publish(tmp_path)
    first.rename(tmp_path / "elsewhere")
    there.kept["model/config.json"] = b"{}"
    assert rollback_model("m").after == "1"


def test_provenance_is_read_from_the_bundle_else_from_the_registry(
    there: Registry, tmp_path: Path
) -> None:
    bundle = there.publish(tmp_path)
    assert published_model("m:1").provenance is None
    there.kept["provenance.json"] = b'{"of": "registry"}'
    assert published_model("m@certified").provenance == {"of": "registry"}
    (bundle / "provenance.json").write_text('{"of": "bundle"}')
    assert published_model("m:1").provenance == {"of": "bundle"}
    (bundle / "provenance.json").write_text("[]")
    assert published_model("m:1").provenance is None
    assert published_model("m").version is None
    assert published_models() == [there.one]


def test_a_tracker_that_keeps_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRACKERS, "load", lambda name: none.TRACKER)
    with pytest.raises(OptikitError, match="keeps no models"):
        published_models()
