"""Where a service may listen, and that a home has one; nothing is served."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.core.spans import trace_id_of
from optikit.errors import BadInput, PortInUse, SpecError
from optikit.service import serve
from optikit.service.database import Database
from optikit.service.serve import Asked, is_loopback
from optikit.service.teams import add
from optikit.spec.queue import Team


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path)
    yield made
    made.close()


def may_listen(database: Database, **asked: object) -> tuple[bool, list[str]]:
    said: list[str] = []
    open_ = serve._may_listen(Asked(database.home, **asked), database, said.append)  # type: ignore[arg-type]
    return open_, said


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback(host: str, is_one: bool) -> None:
    assert is_loopback(host) == is_one


def test_without_teams_this_machine_is_one_team_and_is_told_so(database: Database) -> None:
    open_, (said,) = may_listen(database)
    assert open_
    assert "every user of this machine is the team default" in said
    assert [team.name for team in database.teams()] == ["default"]
    assert may_listen(database)[0], "and again at the next start"


def test_with_a_team_a_token_is_needed_on_loopback_too(database: Database) -> None:
    may_listen(database)
    add(database, Team(name="a"))
    assert may_listen(database) == (False, [])


def test_other_machines_are_let_in_by_token_and_tls_alone(
    database: Database, tmp_path: Path
) -> None:
    wide = {"host": "0.0.0.0"}
    with pytest.raises(BadInput, match="optikit teams add"):
        may_listen(database, **wide, behind_tls_proxy=True)
    assert database.teams() == [], "no open team was made for them"
    add(database, Team(name="a"))
    with pytest.raises(BadInput, match="in the clear"):
        may_listen(database, **wide)
    assert may_listen(database, **wide, behind_tls_proxy=True) == (False, [])
    with pytest.raises(BadInput, match="belong together"):
        may_listen(database, **wide, tls_cert=tmp_path / "c.pem")
    with pytest.raises(BadInput, match="no file"):
        may_listen(database, **wide, tls_cert=tmp_path / "c.pem", tls_key=tmp_path / "k.pem")
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    files = {"tls_cert": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    assert may_listen(database, **wide, **files) == (False, [])


def test_a_home_has_one_service(tmp_path: Path) -> None:
    with serve._only_one(tmp_path / "home") as home:
        assert home == (tmp_path / "home").resolve()
        with (
            pytest.raises(BadInput, match=r"has a service already \(process \d+\)"),
            serve._only_one(tmp_path / "home"),
        ):
            pytest.fail("a second one began")
    with serve._only_one(tmp_path / "home"):
        pass


def test_a_taken_port_is_said_to_be_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        asked = Asked(tmp_path, port=other.getsockname()[1])
        with pytest.raises(PortInUse, match="--port 0"), serve._socket(asked):
            pytest.fail("it listens")
    with pytest.raises(BadInput, match="--port 70000"), serve._socket(Asked(tmp_path, port=70000)):
        pytest.fail("it listens")


def test_a_sites_file_that_is_wrong_ends_the_start(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("nodez: []\n")
    with pytest.raises(SpecError, match="nodez"):
        serve.serve(Asked(tmp_path / "home", site=site), print)
    assert not (tmp_path / "home").exists()


def logged(monkeypatch: pytest.MonkeyPatch, said: str) -> str:
    """What the service writes of an error of a job, a request and an event of a journal."""
    monkeypatch.setenv("OPTIKIT_LOG_FORMAT", said)
    monkeypatch.setenv("OPTIKIT_TOKEN", "a-secret-token")
    config, stream = serve._logging(), io.StringIO()
    for to in config["handlers"].values():
        to["stream"] = stream
    names = ("optikit", "optikit.journal", "uvicorn", "uvicorn.error", "uvicorn.access")
    found = [logging.getLogger(name) for name in names]
    before = [(one.handlers, one.level, one.propagate) for one in found]
    try:
        logging.config.dictConfig({**config, "disable_existing_loggers": False})
        found[0].error("job j1: a-secret-token\nis wrong", extra={"job": "j1"})
        found[1].info("stage_granted", extra={"job": "j1"})
        found[4].info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/v1/jobs", "1.1", 200)
    finally:
        for one, (writers, level, up) in zip(found, before, strict=True):
            one.handlers, one.propagate = writers, up
            one.setLevel(level)
    return stream.getvalue()


def test_its_log_is_json_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    error, event, access = (json.loads(line) for line in logged(monkeypatch, "json").splitlines())
    assert (error["job"], error["trace_id"]) == ("j1", trace_id_of("j1"))
    assert error["message"] == "job j1: [redacted]\nis wrong"
    assert (event["logger"], event["message"]) == ("optikit.journal", "stage_granted")
    assert access["message"] == '127.0.0.1:1 - "GET /v1/jobs HTTP/1.1" 200'


def test_as_text_it_has_no_events_of_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    text = logged(monkeypatch, "text")
    assert "is wrong" in text
    assert '"GET /v1/jobs HTTP/1.1" 200' in text
    assert "stage_granted" not in text
