"""What of MLflow's registry can be said without it; real ones are in tests/integration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from optikit.adapters.mlflow_registry import MlflowRegistry, _listed, _moves, without_login
from optikit.errors import BadInput, SourceError
from optikit.spec.published import AliasMove, PublishedVersion

WHERE = "http://me:hushhush@mlflow.example.org"
VERSION = PublishedVersion(name="m", version="1", created="")


class Store:
    """An artifact store that names what it likes."""

    def __init__(self, folders: dict[str | None, list[tuple[str, int | None]]]) -> None:
        self.folders = folders

    def list_artifacts(self, folder: str | None) -> list[Any]:
        found = self.folders.get(folder, [])
        return [SimpleNamespace(path=p, is_dir=size is None, file_size=size) for p, size in found]


def test_names_that_lead_out_of_a_store_are_left_out() -> None:
    store = Store(
        {
            None: [("model", None), ("README.md", 3), ("../up", 1), ("/etc/passwd", 1)],
            "model": [("model/a", 1), ("model/../../b", 1), ("elsewhere/c", 1), ("model", None)],
        }
    )
    assert dict(_listed(store)) == {"model/a": 1, "README.md": 3}


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (OSError(f"{WHERE}/api: refused"), SourceError, "http://mlflow.example.org/api: refused"),
        (ImportError("No module named 'boto3'"), BadInput, "needs a library"),
    ],
)
def test_errors_of_a_store_are_ours_and_hold_no_password(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    raised: Exception,
    kind: type[Exception],
    said: str,
) -> None:
    pytest.importorskip("mlflow")
    registry = MlflowRegistry(None, WHERE)

    def broken(version: PublishedVersion) -> Any:
        raise raised

    monkeypatch.setattr(registry, "_store", broken)
    with pytest.raises(kind, match=said) as caught:
        registry.files(VERSION)
    assert "hushhush" not in str(caught.value)
    with pytest.raises(kind, match="m/1: weights"):
        registry.fetch(VERSION, "weights", tmp_path / "x")
    assert registry.text(VERSION, "provenance.json") is None


def test_moves_are_read_by_their_time_and_what_is_none_is_left_out() -> None:
    def move(alias: str, after: str) -> str:
        return AliasMove(
            alias=alias, before=None, after=after, at="t", by="me", how="promote"
        ).model_dump_json()

    tags = {
        "optikit.move.eu.20261127T100000.000002": move("eu", "2"),
        "optikit.move.certified.20261127T100000.000003": move("certified", "3"),
        "optikit.move.certified.20261127T090000.000001": move("certified", "1"),
        "optikit.move.certified.20261127T110000.000000": "by hand",
        "optikit.move.certified.20261127T120000.000000": "{}",
        "owner": "team",
    }
    assert [found.after for found in _moves(tags)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (WHERE, "http://mlflow.example.org"),
        ("https://mlflow.example.org/a@b", "https://mlflow.example.org/a@b"),
        ("sqlite:////home/x@y/mlflow.db", "sqlite:////home/x@y/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_who_logs_in(address: str, shown: str) -> None:
    assert without_login(address) == shown
