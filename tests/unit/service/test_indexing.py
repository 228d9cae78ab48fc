"""A service's index: every team's jobs, and trouble that is said once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from optikit.errors import ArchiveError
from optikit.index.asking import list_indexed
from optikit.index.store import Index
from optikit.service.indexing import Indexing
from tests.service_case import Service


def test_a_round_reads_every_teams_jobs(tmp_path: Path) -> None:
    service = Service(tmp_path)
    for team in ("a", "b"):
        service.submit(team)
    indexing = Indexing(service.database, "default")
    indexing.once()
    found = list_indexed("default", home=tmp_path)
    assert [(row["team"], Path(row["home"]).name) for row in found] == [("a", "a"), ("b", "b")]
    service.database.close()


def test_trouble_is_said_once_and_its_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(tmp_path)
    service.submit("a")
    indexing = Indexing(service.database, "default")
    real = Index.update

    def down(*_: object) -> None:
        raise ArchiveError("it is down")

    with caplog.at_level(logging.INFO, logger="optikit"):
        monkeypatch.setattr(Index, "update", down)
        indexing.once()
        indexing.once()
        monkeypatch.setattr(Index, "update", real)
        indexing.once()
        indexing.once()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "the index is behind: it is down"
    assert len(said) == 2
    assert "up to date again" in said[1]
    service.database.close()
