"""The MLflow tracker on a real SQLite database."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from optikit.adapters.mlflow import tracking
from optikit.errors import OptikitError
from optikit.spec.record import Trial
from optikit.trackers.mlflow import TRACKER

pytestmark = [pytest.mark.integration, pytest.mark.beside]


def trial(name: str, rate: float | None) -> Trial:
    outcome = "infeasible" if rate is None else "pass"
    facts: dict[str, Any] = {
        "outcome": outcome,
        "rate_rps": rate,
        "preliminary": True,
        "reason": "",
        "method": "doubling",
        "requests": 60,
    }
    return Trial.parse(
        {
            "id": name,
            "number": 0,
            "purpose": "tune",
            "variant": "compressed",
            "state": "complete",
            "model_digest": "sha256:x",
            "serving": {"max_model_len": 64, "tensor_parallel": 2},
            "rate": facts,
            "fitness": -1.0 if rate is None else rate / 2,
        }
    )


def failed() -> Trial:
    return trial("t02", None).model_copy(
        update={"rate": None, "fitness": None, "state": "failed", "error": "engine died"}
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home with a space"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "certificate.json").write_text("{}")
    return folder


def record(home: Path, bundle: Path | None, trials: list[Trial], rate: float = 4.0) -> str | None:
    return TRACKER.record(
        home, "j1", {"flow": "tune"}, {"rate_rps": rate}, trials, bundle, "m-int_w8a8", {"s": "ok"}
    )


def runs(home: Path) -> tuple[Any, list[Any]]:
    with tracking(home) as store:
        found = store._client.search_runs([store._experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} <= {parents[0].info.run_id}
    return parents[0], sorted(nested, key=lambda run: str(run.data.tags["optikit.trial"]))


def test_a_job_is_a_run_with_a_nested_run_a_trial(home: Path, bundle: Path) -> None:
    version = record(home, bundle, [trial("t00", 4.0), trial("t01", None), failed()])
    assert version == "1"
    parent, nested = runs(home)
    assert parent.data.params == {"flow": "tune"}
    assert parent.data.metrics == {"rate_rps": 4.0}
    assert parent.data.tags["optikit.job_id"] == "j1"
    assert parent.info.artifact_uri.startswith((home / "mlruns").as_uri())
    assert [run.data.tags["optikit.outcome"] for run in nested] == ["pass", "infeasible", "failed"]
    assert nested[0].data.metrics["rate_per_device_rps"] == 2.0
    assert nested[0].data.params["tensor_parallel"] == "2"
    assert "rate_rps" not in nested[1].data.metrics
    assert [run.info.status for run in nested] == ["FINISHED", "FINISHED", "FAILED"]
    assert (home / "mlflow.db").is_file()
    assert len(list((home / "mlruns").rglob("certificate.json"))) == 1


def test_recording_again_updates_and_adds_nothing(home: Path, bundle: Path) -> None:
    first = record(home, bundle, [trial("t00", 4.0)])
    again = record(home, bundle, [trial("t00", 4.0), trial("t01", 5.0)], rate=5.0)
    assert again == first
    parent, nested = runs(home)
    assert parent.data.metrics == {"rate_rps": 5.0}
    assert [run.data.tags["optikit.trial"] for run in nested] == ["t00", "t01"]
    with tracking(home) as store:
        versions = store._client.search_model_versions("name = 'm-int_w8a8'")
        assert [(v.version, v.source) for v in versions] == [(1, str(bundle))]
        assert versions[0].tags["s"] == "ok"


def test_another_job_is_another_version(home: Path, bundle: Path) -> None:
    assert record(home, bundle, []) == "1"
    assert TRACKER.record(home, "j2", {}, {}, [], bundle, "m-int_w8a8", {}) == "2"


def test_without_a_bundle_there_is_no_version(home: Path) -> None:
    assert record(home, None, [trial("t00", None)]) is None
    assert runs(home)[0].data.tags["s"] == "ok"


def test_a_database_that_is_none_is_our_error(home: Path) -> None:
    home.mkdir()
    (home / "mlflow.db").write_text("this is not a database, only text that is long enough " * 9)
    with pytest.raises(OptikitError, match=r"mlflow\.db"):
        record(home, None, [])


def test_telemetry_is_off_and_nothing_global_is_set(home: Path, bundle: Path) -> None:
    before = os.environ.get("MLFLOW_TRACKING_URI")
    record(home, bundle, [])
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ.get("MLFLOW_TRACKING_URI") == before
    with sqlite3.connect(home / "mlflow.db") as database:
        (count,) = database.execute("select count(*) from experiments where name='optikit'")
    assert count == (1,)
