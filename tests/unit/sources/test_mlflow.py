"""Which place of a version is taken; registries themselves are in tests/integration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from optikit.core.addresses import Address
from optikit.errors import BadInput, SpecError, UnsafeInput
from optikit.sources import mlflow
from optikit.sources.base import Asker, Tree
from optikit.spec.permit import Permit
from optikit.spec.published import PublishedModel, PublishedVersion

DIGEST = "sha256:" + "a" * 64


class Registry:
    """Keeps one version."""

    def __init__(self, where: str, files: dict[str, bytes], **tags: str) -> None:
        self.where, self.kept = where, files
        version = PublishedVersion(name="m", version="3", created="", tags=tags)
        self.one = PublishedModel(name="m", aliases={"certified": "3"}, versions=(version,))

    def model(self, name: str) -> PublishedModel:
        return self.one

    def address(self, version: PublishedVersion) -> str:
        return self.where

    def files(self, version: PublishedVersion) -> dict[str, int]:
        return {name: len(content) for name, content in self.kept.items()}

    def fetch(self, version: PublishedVersion, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.kept[name])


def opened(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    there: Registry | None,
    permit: Permit | None = None,
    place: str = "models:/m@certified",
) -> Tree:
    @contextmanager
    def registry(home: Path) -> Iterator[Any]:
        yield there

    monkeypatch.setattr(mlflow, "registry", registry)
    return mlflow.SOURCE.open(Address("mlflow", place), Asker(home, permit or Permit()))


def bundle(folder: Path) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "certificate.json").write_text("{}")
    return folder


@pytest.mark.parametrize("place", ["models:/m", "m/3", "models:/m/v3", "models:/a/b/3", "models:x"])
def test_what_names_no_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    with pytest.raises(SpecError, match="mlflow://models:/NAME@ALIAS"):
        opened(monkeypatch, tmp_path, None, place=place)


def test_a_version_or_alias_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="set OPTIKIT_MLFLOW_URI"):
        opened(monkeypatch, tmp_path, None)
    there = Registry("", {})
    for place in ("models:/m/4", "models:/m@eu"):
        with pytest.raises(BadInput, match=r"aliases: certified \(3\); newest versions: 3"):
            opened(monkeypatch, tmp_path, there, place=place)


def test_the_models_folder_of_a_bundle_is_taken_by_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = bundle(tmp_path / "b")
    there = Registry("", {}, bundle=str(folder), model_digest=DIGEST)
    tree = opened(monkeypatch, tmp_path, there)
    assert tree.pinned == "mlflow://models:/m/3"
    assert tree.digest == DIGEST
    assert list(tree.files()) == ["config.json"]
    assert tree.read("config.json", 0, 2) == b"{}"
    with pytest.raises(BadInput, match="nothing is written there"):
        tree.write("x", folder)


def test_a_homes_own_store_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "artifacts" / ("a" * 64)
    mine.mkdir(parents=True)
    (mine / "config.json").write_text('{"mine": 1}')
    folder = bundle(tmp_path / "b")
    there = Registry("", {}, bundle=str(folder), model_digest=DIGEST)
    assert opened(monkeypatch, tmp_path, there).files()["config.json"].size == 11


def test_a_tag_leads_nobody_out_of_the_roots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever may write tags could name any folder, or any bucket."""
    folder = bundle(tmp_path / "theirs")
    permit = Permit(roots=(str(tmp_path / "mine"),), addresses=("mlflow://",))
    address = f"s3://other/b/SHA256SUMS#sha256={'0' * 64}"
    there = Registry(
        "mlflow-artifacts:/x", {"certificate.json": b""}, bundle=str(folder), bundle_address=address
    )
    with pytest.raises(BadInput, match="nowhere to be had from here") as caught:
        opened(monkeypatch, tmp_path / "mine", there, permit)
    assert "outside the folders that this site allows" in str(caught.value)
    assert "outside the addresses that this site allows" in str(caught.value)
    with pytest.raises(UnsafeInput, match="artifacts: s3://other/x lies outside"):
        opened(monkeypatch, tmp_path / "mine", Registry("s3://other/x", {}), permit)
    circle = Registry("mlflow-artifacts:/x", {}, bundle_address="mlflow://models:/m/3")
    with pytest.raises(BadInput, match="leads in a circle"):
        opened(monkeypatch, tmp_path / "mine", circle, permit)


def test_what_the_registry_keeps_is_read_file_by_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = {"model/config.json": b"{}", "model/w.safetensors": b"0123456789", "README.md": b"x"}
    tree = opened(monkeypatch, tmp_path, Registry("mlflow-artifacts:/1/a", kept))
    assert {n: f.size for n, f in tree.files().items()} == {"config.json": 2, "w.safetensors": 10}
    assert tree.read("w.safetensors", 4, 10) == b"456789"
    assert tree.read("w.safetensors", 0, 4) == b"0123"
    (spool,) = (tmp_path / "remote").iterdir()
    del tree
    assert not spool.exists(), "nothing stays behind"


def test_a_damaged_digest_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = Registry("", {}, model_digest="../../etc")
    with pytest.raises(BadInput, match=r"model_digest is '\.\./../etc'"):
        opened(monkeypatch, tmp_path, there)
