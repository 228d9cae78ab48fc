"""The hub's addresses, where no hub is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit.adapters.datasets import cached_folder
from optikit.core.addresses import Address
from optikit.errors import BadInput, SpecError
from optikit.sources import hf
from optikit.sources.base import Asker


@pytest.mark.parametrize("place", ["NAME", "ORG/NAME/more", "ORG/NAME@", "@x"])
def test_what_is_no_model_of_the_hub(place: str) -> None:
    with pytest.raises(SpecError, match="hf://ORG/NAME or hf://ORG/NAME@REVISION"):
        hf.SOURCE.open(Address("hf", place), Asker(Path()))


def test_offline_what_the_cache_holds_is_taken_and_named_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = tmp_path / ("c" * 40)
    commit.mkdir()
    (commit / "config.json").write_text("{}")
    monkeypatch.setattr(hf, "offline", lambda: True)
    monkeypatch.setattr(hf, "cached_folder", lambda name, revision: commit)
    tree = hf.SOURCE.open(Address("hf", "ORG/NAME@main"), Asker(tmp_path))
    assert tree.pinned == f"hf://ORG/NAME@{'c' * 40}"
    assert list(tree.files()) == ["config.json"]
    assert tree.read("config.json", 0, 2) == b"{}"


def test_offline_what_the_cache_has_not_names_the_command() -> None:
    with pytest.raises(BadInput, match="hf download optikit-tests/nothing"):
        cached_folder("optikit-tests/nothing", None)
