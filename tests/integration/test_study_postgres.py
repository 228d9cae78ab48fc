"""A tuning search whose study lives in a real PostgreSQL, where a dashboard reads it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests import postgres
from tests.integration.test_tuning import SPEC, tuned
from tests.running import submit, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres.server() as folder, postgres.database(folder, "studies") as found:
        yield found


def test_a_killed_search_goes_on_with_the_study_in_the_database(tmp_path: Path, url: str) -> None:
    tuner = {"name": "tpe", "storage": url, "finalists": 0}
    changes = {**SPEC, "tuner": tuner, "flow_params": {"num_trials": 6}}
    job = submit(tmp_path / "home", tmp_path, pool="inline", **changes)
    wait_for(job, lambda event: event["kind"] == "trial" and event["trial"]["number"] == 2)
    os.kill(job.archive.of_kind("state")[-1]["pid"], signal.SIGKILL)
    until = time.monotonic() + 30
    while job.archive.driver_alive() and time.monotonic() < until:
        time.sleep(0.1)
    job.resume("inline")
    result = job.result(timeout_s=200)
    assert result.state in ("done", "negative"), result.message
    ran = [trial for trial in tuned(job).trials if trial.purpose == "tune"]
    assert len(ran) == 6
    stored = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        (name,) = optuna.get_all_study_names(stored)
        trials = optuna.load_study(study_name=name, storage=stored).get_trials()
    finally:
        stored.engine.dispose()
    assert name == f"{job.id}/baseline"
    names = ("tensor_parallel", "max_num_seqs", "max_num_batched_tokens")
    points = [tuple(getattr(trial.serving, name) for name in names) for trial in ran]
    assert len(set(points)) == 6, "no point was tried twice"
    stood = [
        tuple(trial.user_attrs["point"][name] for name in names)
        for trial in trials
        if trial.state == optuna.trial.TrialState.COMPLETE
    ]
    assert len(set(stood)) == len(stood)
    assert set(points) <= set(stood), "none was lost; the default configuration is known as well"
