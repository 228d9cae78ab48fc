"""login, teams, serve and --server: what they keep, print and refuse. No service runs."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from optikit.adapters.http_get import Answer
from optikit.cli import main
from optikit.cli._server import keep_token, tokens_file
from optikit.service import client
from optikit.service.client import Server
from tests.service_case import SPEC
from tests.specs import small_plan

URL = "http://127.0.0.1:8470"
JOB = "j20261126-101112-abcdef"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optikit_home: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("OPTIKIT_TOKEN", "OPTIKIT_SERVER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """(path, token) of each request; what is answered fits every verb."""
    seen: list[tuple[str, str | None]] = []
    facts = {"id": JOB, "state": "cancelled", "simulated": False, "message": "", "stages": []}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/team": {"name": "a"},
        "/v1/jobs": {"jobs": [{**facts, "verdict": None}], "next": None, "id": JOB},
        f"/v1/jobs/{JOB}": facts,
        f"/v1/jobs/{JOB}/plan": small_plan().model_dump(mode="json"),
        f"/v1/jobs/{JOB}/cancel": {"stopped": True},
        f"/v1/jobs/{JOB}/resume": facts,
        f"/v1/jobs/{JOB}/result": {**facts, "archive": "~/jobs/x"},
        f"/v1/jobs/{JOB}/logs": {"text": "a line\n", "next": 7, "size": 7},
    }

    def answer(url: str, *args: Any) -> Answer:
        path = urlsplit(url).path
        if path.endswith("/events"):
            seen.append((path, args[0]))
            return Answer(200, {"events": [], "next": 0})
        seen.append((path, args[-3] if len(args) > 2 else args[0]))
        return Answer(200, bodies[path])

    monkeypatch.setattr(client, "get_json", answer)
    monkeypatch.setattr(client, "post_json", answer)
    return seen


def out(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# -- login


def test_login_keeps_a_checked_token_for_its_owner_alone(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("optikit_first\n"))
    assert main(["login", URL + "/", "--token-stdin"]) == 0
    assert asked == [("/v1/team", "optikit_first")]
    captured = capsys.readouterr()
    assert "team a" in captured.out
    assert "optikit_first" not in captured.out + captured.err
    assert stat.S_IMODE(tokens_file().stat().st_mode) == 0o600
    monkeypatch.setenv("OPTIKIT_TOKEN", "optikit_second")
    assert main(["login", "http://localhost:1", "--json"]) == 0
    assert json.loads(tokens_file().read_text())["tokens"] == {
        URL: "optikit_first",
        "http://localhost:1": "optikit_second",
    }
    assert [path.name for path in tokens_file().parent.iterdir()] == ["servers.json"]


def test_a_prompt_does_not_echo(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: "optikit_typed")
    assert main(["login", URL]) == 0
    assert asked == [("/v1/team", "optikit_typed")]


def test_a_refused_token_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Answer(401, {"error": {"kind": "NotAllowed", "message": "no"}})
    monkeypatch.setattr(client, "get_json", lambda *_: refused)
    monkeypatch.setenv("OPTIKIT_TOKEN", "optikit_wrong")
    assert main(["login", URL]) == 2
    assert "refuses the token" in capsys.readouterr().err
    assert not tokens_file().exists()


@pytest.mark.parametrize("token", ["", "two words", "ünicode", "a\tb"])
def test_what_is_no_token_is_not_sent(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(token + "\n"))
    assert main(["login", URL, "--token-stdin"]) == 2
    assert asked == []


def test_a_token_is_no_argument() -> None:
    with pytest.raises(SystemExit):
        main(["login", URL, "--token", "optikit_x"])


def test_a_file_of_tokens_that_is_damaged_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    keep_token(URL, "optikit_x")
    for text in ("{", "[]", '{"tokens": 1}'):
        tokens_file().write_text(text)
        assert main(["list", "--server", URL]) == 2
        assert "log in again" in capsys.readouterr().err


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text('{"tokens": {}}')
    tokens_file().parent.mkdir(parents=True)
    tokens_file().symlink_to(other)
    keep_token(URL, "optikit_x")
    assert "optikit_x" not in other.read_text()
    assert not tokens_file().is_symlink()


# -- --server


def test_each_verb_asks_the_service_with_its_token(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_token(URL, "optikit_x")
    spec = tmp_path / "job.yaml"
    spec.write_text(yaml.safe_dump(SPEC))
    for argv, path in [
        (["submit", str(spec), "--detach", "--json"], "/v1/jobs"),
        (["status", JOB, "--json"], f"/v1/jobs/{JOB}"),
        (["cancel", "last", "--json"], f"/v1/jobs/{JOB}/cancel"),
        (["resume", JOB, "--detach", "--json"], f"/v1/jobs/{JOB}/resume"),
        (["show", JOB, "--json"], f"/v1/jobs/{JOB}/result"),
        (["list", "--json"], "/v1/jobs"),
    ]:
        asked.clear()
        assert main([*argv, "--server", URL]) == 0
        found = out(capsys)
        assert (found[0] if isinstance(found, list) else found)["id"] == JOB
        assert path in [seen for seen, _ in asked]
        assert {token for _, token in asked} == {"optikit_x"}
    assert main(["logs", JOB, "--server", URL]) == 0
    assert capsys.readouterr().out == "a line\n"
    assert main(["logs", JOB, "--server", URL, "--json"]) == 0
    assert out(capsys) == []
    assert not (Path(os.environ["OPTIKIT_HOME"]) / "jobs").exists()


def test_the_environment_names_the_service_too(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPTIKIT_SERVER", URL)
    monkeypatch.setenv("OPTIKIT_TOKEN", "optikit_y")
    assert main(["list"]) == 0
    assert asked == [("/v1/jobs", "optikit_y")]
    assert JOB in capsys.readouterr().out


def test_without_a_server_nothing_is_asked(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    keep_token(URL, "optikit_x")
    assert main(["list", "--json"]) == 0
    assert (out(capsys), asked) == ([], [])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["list", "--server", "example.org"], "write it as https://"),
        (["submit", "x.yaml", "--pool", "ray", "--server", URL], "--pool"),
        (["resume", JOB, "--pool", "ray", "--server", URL], "--pool"),
        (["show", JOB, "--plots", "--server", URL], "--plots"),
    ],
)
def test_what_a_service_does_not_do_is_said(
    asked: list[Any], capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_a_service_that_is_down_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "get_json", lambda *_: Answer(None, text="connection refused"))
    assert main(["list", "--server", URL]) == 1
    assert f"the service at {URL} does not answer: connection refused" in capsys.readouterr().err


def test_a_kept_token_is_not_sent_to_another_service(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Server] = []
    keep_token("http://127.0.0.1:1", "optikit_x")
    monkeypatch.setattr(Server, "__post_init__", lambda self: made.append(self))
    assert main(["list", "--server", URL]) == 0
    assert [server.token for server in made] == [None]


# -- teams


def test_teams_come_change_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teams", "add", "a", "--weight", "2", "--quota", "H100=8", "--json"]) == 0
    token = out(capsys)["token"]
    assert token.startswith("optikit_")
    assert main(["teams", "add", "b"]) == 0
    assert "shown this once: optikit_" in capsys.readouterr().out
    assert main(["teams", "set", "a", "--quota", "A100=4", "--quota", "H100=2"]) == 0
    capsys.readouterr()
    assert main(["teams", "token", "a", "--json"]) == 0
    assert out(capsys)["token"] != token
    assert main(["teams", "remove", "b"]) == 0
    capsys.readouterr()
    assert main(["teams", "list", "--json"]) == 0
    (row,) = out(capsys)
    assert (row["name"], row["weight"], row["quota"]) == ("a", 2.0, {"A100": 4, "H100": 2})
    assert row["token"] is True
    assert row["home"].startswith(os.environ["OPTIKIT_HOME"])
    assert main(["teams", "list"]) == 0
    text = capsys.readouterr().out
    assert "A100=4 H100=2" in text
    assert "optikit_" not in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["add", "A"], "cannot be a team's name"),
        (["add", "a", "--quota", "H100"], "KIND=N"),
        (["add", "a", "--quota", "H100=-1"], "KIND=N"),
        (["add", "a", "--quota", "H900=1"], "no such device"),
        (["add", "a", "--weight", "0"], "weight"),
        (["add", "a", "--weight", "nan"], "weight"),
        (["token", "nosuch"], "no team"),
        (["set", "nosuch", "--weight", "1"], "no team"),
        (["remove", "nosuch"], "no team"),
        (["list", "--database", "postgresql://me:pw@db/x"], "holds a password"),
    ],
)
def test_what_is_no_team_is_refused(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(["teams", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_change_of_weight_is_as_strict_as_a_new_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teams", "add", "a"]) == 0
    assert main(["teams", "set", "a", "--weight", "-1"]) == 2
    assert "weight" in capsys.readouterr().err


# -- serve


def test_serve_says_what_its_libraries_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("optikit.service.installed._NEEDED", ("uvicorn", "no_such_library"))
    for argv in (["serve"], ["teams", "list"]):
        assert main(argv) == 1
        said = capsys.readouterr().err
        assert "the service needs no_such_library; pip install 'optikit[service]'" in said


def test_serve_refuses_to_be_reached_without_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "optikit teams add NAME --home" in capsys.readouterr().err
