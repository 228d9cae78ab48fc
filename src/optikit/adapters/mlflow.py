"""The only importer of MLflow: runs and model versions below a home folder, or on a server.

``<home>/mlflow.db`` is tracking and registry, ``<home>/mlruns`` keeps artifacts; to look at them:
``mlflow ui --backend-store-uri sqlite:///<home>/mlflow.db``. Where $OPTIKIT_MLFLOW_URI names a
server, it has both instead, by MLflow's own variables for who asks (MLFLOW_TRACKING_TOKEN, ...). A
client with explicit addresses is used throughout, so neither MLflow's global state nor
MLFLOW_TRACKING_URI has a say. Everything is found again by a key in a tag, so writing twice adds
nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optikit.adapters.mlflow_registry import MlflowRegistry, without_login
from optikit.errors import OptikitError

__all__ = ["Tracking", "registry", "tracking"]

EXPERIMENT = "optikit"
KEY = "optikit.key"
BUNDLE = "bundle"
SERVER = "OPTIKIT_MLFLOW_URI"
_SETTINGS = {
    # a server that is down holds a job up for no minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Read when mlflow is imported; what the environment says goes before."""
_PATIENCE_S = 120.0
_VALUE_CHARACTERS = 6000
"""Longest parameter value that MLflow takes."""


class Tracking:
    """Runs and model versions of one experiment; open it with ``tracking``."""

    def __init__(self, client: Any, experiment_id: str, where: str, remote: bool) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._registry = MlflowRegistry(client, where)
        self._remote = remote

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
        """Copy a small file into the run's artifacts, below ``bundle/``."""
        self._client.log_artifact(run_id, str(file), BUNDLE)

    def version(
        self,
        name: str,
        key: str,
        source: Path,
        run_id: str,
        tags: Mapping[str, str],
        aliases: Sequence[str] = (),
    ) -> str:
        """The version of the registered model ``name`` with that key, made if it is missing.

        Args:
            source: the bundle. A server takes no path of this machine: there the version points at
                what ``keep`` brought, and the tags say where the bundle is.
            aliases: name this version from now on; told again, one that was moved since stays.
        """
        found = self._version(name, key, source, run_id, tags)
        for alias in aliases:
            self._registry.publish(name, alias, found, key)
        return found

    def _version(
        self, name: str, key: str, source: Path, run_id: str, tags: Mapping[str, str]
    ) -> str:
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
        where = str(source)
        if self._remote:
            where = f"{self._client.get_run(run_id).info.artifact_uri}/{BUNDLE}"
        made = self._client.create_model_version(
            name, source=where, run_id=run_id, tags={**tags, KEY: key}
        )
        return str(made.version)


@contextlib.contextmanager
def tracking(home: Path) -> Iterator[Tracking]:
    """Tracking on the server of $OPTIKIT_MLFLOW_URI, else below ``home``: there one process at a
    time, others wait.

    Raises:
        OptikitError: MLflow is not installed, or it, its database or the server does not do what
            was asked.
    """
    with _opened(home) as (client, where, remote):
        folder = None if remote else (home.absolute() / "mlruns").as_uri()
        yield Tracking(client, _experiment(client, folder), where, remote)


@contextlib.contextmanager
def registry(home: Path) -> Iterator[MlflowRegistry | None]:
    """The registry of models there, as ``tracking``; None where nothing was ever told to it."""
    if SERVER not in os.environ and not (home / "mlflow.db").is_file():
        yield None
        return
    with _opened(home) as (client, where, _):
        yield MlflowRegistry(client, where)


@contextlib.contextmanager
def _opened(home: Path) -> Iterator[tuple[Any, str, bool]]:
    """A client, the address it asks, and whether a server is behind that."""
    if importlib.util.find_spec("mlflow") is None:
        raise OptikitError("MLflow is not installed; pip install 'optikit[mlflow]'")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    server = os.environ.get(SERVER)
    with warnings.catch_warnings(), (home / "mlflow.lock").open("w") as lock:
        # SQLAlchemy 2.1 deprecates what MLflow 3.17's tables use (noload)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        from mlflow.exceptions import MlflowException
        from mlflow.store.db.utils import sqlalchemy
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):  # else each new database prints its migrations
            logging.getLogger(name).setLevel(logging.WARNING)
        if server is None:
            _taken(lock.fileno())
        where = server or _sqlite_url(home / "mlflow.db")
        try:
            client = MlflowClient(tracking_uri=where, registry_uri=where)
            yield client, where, server is not None
        except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
            place = without_login(server) if server else str(home / "mlflow.db")
            said = str(error).replace(where, place)[:500]
            raise OptikitError(f"MLflow at {place}: {said}") from error


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


def _experiment(client: Any, folder: str | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=folder))


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
