"""The only importer of MLflow: runs and model versions in an SQLite file below a home folder.

``<home>/mlflow.db`` is tracking and registry, ``<home>/mlruns`` keeps artifacts; to look at them:
``mlflow ui --backend-store-uri sqlite:///<home>/mlflow.db``. A client with explicit addresses is
used throughout, so neither MLflow's global state nor MLFLOW_TRACKING_URI has a say. Everything is
found again by a key in a tag, so writing twice adds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optikit.errors import OptikitError

__all__ = ["Tracking", "tracking"]

EXPERIMENT = "optikit"
KEY = "optikit.key"
_PATIENCE_S = 120.0
_VALUE_CHARACTERS = 6000
"""Longest parameter value that MLflow takes."""


class Tracking:
    """Runs and model versions of one experiment; open it with ``tracking``."""

    def __init__(self, client: Any, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    def run(
        self,
        key: str,
        *,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        parent: str | None = None,
        failed: bool = False,
    ) -> str:
        """The ended run of that key, made or brought up to date.

        Args:
            key: identifies the run within the experiment; also its name.
            params: written once; MLflow never changes a parameter.
            metrics: written where the value is new.
            parent: run id of the run that this one is nested in.

        Returns:
            The run id.
        """
        from mlflow.entities import Metric, Param, RunTag

        found = self._client.search_runs([self._experiment_id], f"tags.`{KEY}` = '{_plain(key)}'")
        nested = {} if parent is None else {"mlflow.parentRunId": parent}
        if found:
            run = found[0]
        else:
            run = self._client.create_run(
                self._experiment_id, run_name=key, tags={KEY: key, **nested}
            )
        now = int(time.time() * 1000)
        self._client.log_batch(
            run.info.run_id,
            metrics=[
                Metric(name, value, now, 0)
                for name, value in metrics.items()
                if run.data.metrics.get(name) != value
            ],
            params=[
                Param(name, value[:_VALUE_CHARACTERS])
                for name, value in params.items()
                if name not in run.data.params
            ],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self._client.set_terminated(run.info.run_id, status="FAILED" if failed else "FINISHED")
        return str(run.info.run_id)

    def keep(self, run_id: str, file: Path) -> None:
        """Copy a small file into the run's artifacts."""
        self._client.log_artifact(run_id, str(file))

    def version(
        self, name: str, key: str, source: Path, run_id: str, tags: Mapping[str, str]
    ) -> str:
        """The version of the registered model ``name`` with that key, made if it is missing."""
        from mlflow.exceptions import MlflowException

        for version in self._client.search_model_versions(f"name = '{_plain(name)}'"):
            if version.tags.get(KEY) == key:
                for tag, value in tags.items():
                    self._client.set_model_version_tag(name, version.version, tag, value)
                return str(version.version)
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.create_model_version(
            name, source=str(source), run_id=run_id, tags={**tags, KEY: key}
        )
        return str(made.version)


@contextlib.contextmanager
def tracking(home: Path) -> Iterator[Tracking]:
    """Tracking below ``home``; one process at a time, others wait.

    Raises:
        OptikitError: MLflow is not installed, or it or its database does not do what was asked.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise OptikitError("MLflow is not installed; pip install 'optikit[mlflow]'")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    os.environ.setdefault("DO_NOT_TRACK", "true")
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), (home / "mlflow.lock").open("w") as lock:
        # SQLAlchemy 2.1 deprecates what MLflow 3.17's tables use (noload)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        from mlflow.exceptions import MlflowException
        from mlflow.store.db.utils import sqlalchemy
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):  # else each new database prints its migrations
            logging.getLogger(name).setLevel(logging.WARNING)
        _taken(lock.fileno())
        database = _sqlite_url(home / "mlflow.db")
        try:
            client = MlflowClient(tracking_uri=database, registry_uri=database)
            yield Tracking(client, _experiment(client, home))
        except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
            raise OptikitError(f"MLflow at {home / 'mlflow.db'}: {error}") from error


def _taken(lock: int) -> None:
    """Wait for the other processes of this home; not for ever: one of them may hang.

    Raises:
        OptikitError: it was not to be had.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise OptikitError(
                    f"MLflow's database is held by another process for {_PATIENCE_S:.0f} s; the "
                    "archive has everything, and publishing again writes it there"
                ) from None
            time.sleep(0.1)


def _experiment(client: Any, home: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=(home / "mlruns").as_uri()))


def _plain(word: str) -> str:
    """A word that can stand in a filter string."""
    if "'" in word or "`" in word:
        raise OptikitError(f"{word!r} cannot be searched in MLflow; use a name without quotes")
    return word


def _sqlite_url(path: Path) -> str:
    text = str(path)
    for sign in "%?#":  # they have a meaning in a URL; % first
        text = text.replace(sign, f"%{ord(sign):02X}")
    return f"sqlite:///{text}"
