"""Promote and roll back, on SQLite below a home and on a real MLflow server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.adapters.mlflow import SERVER, tracking
from optikit.errors import BadInput, UnknownName
from optikit.registry import promote_model, published_model, published_models, rollback_model
from optikit.trackers.mlflow import TRACKER
from tests.mlflow_server import mlflow_server
from tests.published import publish

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

OPTIKIT = str(Path(sys.executable).with_name("optikit"))
HERE = "this home"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local") / "a home"


@pytest.fixture(params=[HERE, "server"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a registry is: its own for each kind; models are told apart by name."""
    if request.param == HERE:
        monkeypatch.delenv(SERVER, raising=False)
        found: Path = request.getfixturevalue("local")
        return found
    monkeypatch.setenv(SERVER, request.getfixturevalue("server"))
    return tmp_path / "home"


def optikit(home: Path, *argv: str, code: int = 0) -> str:
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**os.environ, "OPTIKIT_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def aliases(home: Path, name: str) -> dict[str, str]:
    return published_model(name, home).model.aliases


def test_a_bad_release_is_taken_back_and_stays_so(home: Path) -> None:
    name = "release-int_w8a8"
    for job in ("r1", "r2"):
        publish(home, job, name)
    assert aliases(home, name) == {"candidate": "2", "certified": "2"}
    move = rollback_model(name, home=home)
    assert (move.before, move.after, move.how) == ("2", "1", "rollback")
    assert aliases(home, name) == {"candidate": "2", "certified": "1"}
    assert told_again(home, "r2", name) == "2"
    assert aliases(home, name)["certified"] == "1", "told again, the rollback holds"
    with pytest.raises(BadInput, match="nothing is known that it named before"):
        rollback_model(name, home=home)
    promote_model(f"{name}:2", home=home)
    assert aliases(home, name)["certified"] == "2"
    assert publish(home, "r3", name)[0] == "3"
    assert aliases(home, name) == {"candidate": "3", "certified": "3"}
    moves = [m for m in published_model(name, home).model.moves if m.alias == "certified"]
    assert [(m.before, m.after, m.how) for m in moves] == [
        (None, "1", "publish"),
        ("1", "2", "publish"),
        ("2", "1", "rollback"),
        ("1", "2", "promote"),
        ("2", "3", "publish"),
    ]
    assert moves[0].by == "job r1"
    assert not moves[2].by.startswith("job ")


def told_again(home: Path, job_id: str, name: str) -> str | None:
    """Version 2 once more, as ``archive sync`` does it."""
    version = published_model(f"{name}:2", home).version
    assert version is not None
    bundle = home / "bundles" / job_id
    return TRACKER.record(home, job_id, {}, {}, [], bundle, name, version.tags)


@pytest.mark.parametrize(
    ("status", "quality", "why"),
    [
        ("preliminary", "kept", "its certificate is preliminary"),
        ("not measured", "kept", "it has no certificate"),
        ("certified", "lost", "the quality gate says lost"),
    ],
)
def test_what_is_not_proven_is_promoted_only_with_a_reason(
    home: Path, status: str, quality: str, why: str
) -> None:
    name = f"unproven-{status.replace(' ', '-')}-{quality}"
    publish(home, f"{name}-1", name)
    number, _ = publish(home, f"{name}-2", name, status, quality)
    if status == "certified":  # publish itself looks at the status alone
        rollback_model(name, home=home)
    assert aliases(home, name)["certified"] == "1"
    with pytest.raises(BadInput, match=why) as caught:
        promote_model(f"{name}:{number}", home=home)
    assert "--anyway REASON" in str(caught.value)
    assert aliases(home, name)["certified"] == "1", "nothing happened"
    promote_model(f"{name}:{number}", "canary", home=home)
    move = promote_model(f"{name}:{number}", anyway="asked by the team", home=home)
    assert move.why is not None
    assert "asked by the team" in move.why
    assert why in move.why
    version = published_model(f"{name}@certified", home).version
    assert version is not None
    assert set(version.aliases) == {"candidate", "canary", "certified"}
    assert "asked by the team" in version.tags["optikit.promoted_anyway"]


def test_a_rollback_to_what_is_gone_or_was_changed_is_refused(home: Path) -> None:
    name = "gone-int_w8a8"
    _, first = publish(home, "g1", name)
    publish(home, "g2", name)
    weights = first / "model" / "NOTICE"
    kept = weights.read_bytes()
    weights.write_text("something else\n")
    with pytest.raises(BadInput, match="has sha256:"):
        rollback_model(name, home=home)
    weights.write_bytes(kept)
    (first / "certificate.json").write_text("{}")
    with pytest.raises(BadInput, match="not what was published"):
        rollback_model(name, home=home)
    shutil.rmtree(first)
    with pytest.raises(BadInput, match=r"is not at .* any more"):
        rollback_model(name, home=home)
    assert aliases(home, name)["certified"] == "2"
    with pytest.raises(BadInput, match=r"is not at .* any more"):
        promote_model(f"{name}:1", home=home)
    rollback_model(name, anyway="its node is being restored", home=home)
    assert aliases(home, name)["certified"] == "1"


def test_a_version_of_another_tool_is_listed_and_not_certified(home: Path) -> None:
    name = "foreign"
    with tracking(home) as store:
        run = store.run("foreign-run", params={}, metrics={}, tags={})
        store._client.create_registered_model(name)
        where = store._client.get_run(run).info.artifact_uri
        store._client.create_model_version(name, source=where, run_id=run)
    (model,) = [one for one in published_models(home) if one.name == name]
    assert [one.version for one in model.versions] == ["1"]
    with pytest.raises(BadInput, match="no job of OptiKIT published it"):
        promote_model(f"{name}:1", home=home)
    with pytest.raises(UnknownName, match="there are 1"):
        published_model(f"{name}:7", home)
    with pytest.raises(UnknownName, match=r"no alias 'x'. Known: \(none\)"):
        published_model(f"{name}@x", home)
    with pytest.raises(UnknownName, match="did you mean 'foreign'"):
        published_model("foriegn", home)


def test_the_command_line(home: Path) -> None:
    name = "shown-int_w8a8"
    _, bundle = publish(home, "s1", name)
    publish(home, "s2", name)
    listed = json.loads(optikit(home, "models", "list", "--json"))
    assert listed["registry_error"] is None
    (mine,) = [one for one in listed["published"] if one["name"] == name]
    assert mine["aliases"] == {"candidate": "2", "certified": "2"}
    assert [row["certified_rate_rps"] for row in mine["versions"]] == [4.25, 4.25]
    assert mine["versions"][0]["job"] == "s1"
    assert "4.25 requests/s" in optikit(home, "models", "list")
    shown = json.loads(optikit(home, "models", "show", f"{name}@certified", "--json"))
    assert (shown["version"], shown["tags"]["licence"]) == ("2", "apache-2.0")
    assert shown["provenance"] == {"predicate": {"of": "s2"}}
    shutil.rmtree(bundle.parent / "s2")  # the registry keeps the small files on a server
    error = optikit(home, "models", "promote", f"{name}:9", code=2)
    assert error.startswith("error: ")
    assert "has no version 9" in error
    moved: dict[str, Any] = json.loads(optikit(home, "models", "rollback", name, "--json"))
    assert (moved["name"], moved["before"], moved["after"]) == (name, "2", "1")
    said = optikit(home, "models", "promote", f"{name}:1", "--to", "eu")
    assert said == f"{name}@eu is version 1 (it was none)\n"
    text = optikit(home, "models", "show", name)
    assert "rollback" in text
    assert optikit(home, "models", "rollback", name, code=2).count("\n") == 1


def test_nothing_published_is_an_empty_list_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SERVER, raising=False)
    assert published_models(tmp_path) == []
    assert list(tmp_path.iterdir()) == [], "asking makes no database"
    with pytest.raises(UnknownName, match="nothing was, below this home"):
        promote_model("m:1", home=tmp_path)


def test_folders_are_listed_where_the_registry_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, "http://me:hushhush@127.0.0.1:9")
    text = optikit(tmp_path, "models", "list")
    assert "what was published is not known: MLflow at http://127.0.0.1:9" in text
    assert "hushhush" not in text
