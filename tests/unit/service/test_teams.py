from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.errors import BadInput, UnknownName
from optikit.service import teams
from optikit.service.database import Database
from optikit.service.tokens import digest_of_token
from optikit.spec.queue import Team


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "home")
    yield made
    made.close()


def kept(database: Database) -> dict[str, str | None]:
    return {entry.team.name: entry.token_sha256 for entry in database.team_entries()}


def test_a_token_is_kept_as_its_digest_alone(database: Database) -> None:
    token = teams.add(database, Team(name="a"))
    assert token is not None
    assert kept(database) == {"a": digest_of_token(token)}
    files = [path for path in database.home.rglob("*") if path.is_file()]
    assert files
    assert not any(token.encode() in path.read_bytes() for path in files)


def test_a_teams_folder_is_the_services_alone(database: Database) -> None:
    teams.add(database, Team(name="a"))
    assert stat.S_IMODE(database.home_of("a").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["..", "A", "a/b", "a b", "-a", ".a", "a" * 64, "a\n", "é", "a\0"])
def test_a_name_that_could_lead_out_of_the_folder_is_refused(database: Database, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be a team's name"):
        teams.add(database, Team(name=name))
    assert kept(database) == {}


def test_a_name_is_given_once(database: Database) -> None:
    teams.add(database, Team(name="a", weight=2.0))
    with pytest.raises(BadInput, match="optikit teams set"):
        teams.add(database, Team(name="a"), again=True)
    assert database.teams() == [Team(name="a", weight=2.0)]


def test_a_new_token_ends_the_old_one(database: Database) -> None:
    old = teams.add(database, Team(name="a", quota={"H100": 2}))
    new = teams.change_token(database, "a")
    assert new != old
    assert kept(database) == {"a": digest_of_token(new)}
    assert database.teams() == [Team(name="a", quota={"H100": 2})]


def test_a_change_leaves_the_rest_and_the_token(database: Database) -> None:
    teams.add(database, Team(name="a", weight=2.0, quota={"H100": 2}))
    before = kept(database)
    assert teams.change(database, "a", 3.0, None) == Team(name="a", weight=3.0, quota={"H100": 2})
    assert teams.change(database, "a", None, {}) == Team(name="a", weight=3.0)
    assert kept(database) == before


def test_a_quota_is_of_devices_that_exist(database: Database) -> None:
    with pytest.raises(BadInput, match="H100"):
        teams.add(database, Team(name="a", quota={"H10": 8}))
    with pytest.raises(BadInput, match="less than none"):
        teams.add(database, Team(name="a", quota={"H100": -1}))


def test_a_removed_teams_token_opens_nothing(database: Database) -> None:
    teams.add(database, Team(name="a"))
    teams.remove(database, "a")
    assert kept(database) == {"a": None}
    for change in (
        lambda: teams.remove(database, "a"),
        lambda: teams.change_token(database, "a"),
        lambda: teams.change(database, "a", 1.0, None),
    ):
        with pytest.raises(UnknownName, match="no team 'a'"):
            change()
