"""MLflow's registry of models: versions, aliases with their history, and the files behind them.

An alias is moved by MLflow alone; that it was, from where, by whom and why stands in a tag of the
registered model, ``optikit.move.ALIAS.TIME``, which is written first.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from optikit.core.promotion import names_by_itself
from optikit.errors import BadInput, SourceError, SpecError, UnknownName, nearest
from optikit.spec.published import AliasMove, PublishedModel, PublishedVersion

__all__ = ["MlflowRegistry", "without_login"]

_MOVE = "optikit.move."
_MOST_TEXT = 4 << 20


class MlflowRegistry:
    """One registry; see trackers/base.py.

    Args:
        client: of MLflow, with explicit addresses.
        where: address of the registry, by which artifacts are found too.
    """

    def __init__(self, client: Any, where: str) -> None:
        self._client, self._where = client, where

    def models(self) -> list[PublishedModel]:
        """All models by name."""
        found = []
        token = None
        while True:
            page = self._client.search_registered_models(page_token=token)
            found += [self._model(one) for one in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda model: model.name)

    def model(self, name: str) -> PublishedModel:
        """One model; raises UnknownName with the nearest known ones."""
        from mlflow.exceptions import MlflowException

        try:
            return self._model(self._client.get_registered_model(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        known = [one.name for one in self._client.search_registered_models(max_results=1000)]
        raise UnknownName(f"no model {name!r} was published; {nearest(name, known)}")

    def _model(self, found: Any) -> PublishedModel:
        aliases = {str(alias): str(version) for alias, version in found.aliases.items()}
        listed = self._client.search_model_versions(f"name = '{found.name}'")
        versions = [
            PublishedVersion(
                name=found.name,
                version=str(one.version),
                created=_iso(one.creation_timestamp),
                aliases=tuple(sorted(a for a, v in aliases.items() if v == str(one.version))),
                tags=dict(one.tags),
                source=one.source or "",
                run_id=one.run_id or None,
            )
            for one in listed
        ]
        return PublishedModel(
            name=found.name,
            aliases=aliases,
            versions=tuple(sorted(versions, key=lambda one: int(one.version))),
            moves=tuple(_moves(found.tags)),
        )

    def move(
        self,
        name: str,
        alias: str,
        version: str,
        by: str,
        how: Literal["publish", "promote", "rollback"],
        why: str | None = None,
    ) -> AliasMove:
        """Put an alias on a version and note it."""
        before = self.model(name).aliases.get(alias)
        now = datetime.now(UTC)
        move = AliasMove(
            alias=alias,
            before=before,
            after=version,
            at=now.isoformat(timespec="microseconds"),
            by=by,
            how=how,
            why=why,
        )
        key = f"{_MOVE}{alias}.{now:%Y%m%dT%H%M%S.%f}"
        self._client.set_registered_model_tag(name, key, move.model_dump_json())
        self._client.set_registered_model_alias(name, alias, version)
        return move

    def publish(self, name: str, alias: str, version: str, key: str) -> None:
        """Put an alias on what a job published just now; not where it was moved since."""
        if names_by_itself(self.model(name), alias, version):
            self.move(name, alias, version, f"job {key}", "publish")

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """A tag on a version."""
        self._client.set_model_version_tag(name, version, key, value)

    def address(self, version: PublishedVersion) -> str:
        """Where the registry's artifact store has the version's files."""
        return str(self._client.get_model_version_download_uri(version.name, version.version))

    def files(self, version: PublishedVersion) -> dict[str, int]:
        """Bytes of every file of a version in the registry's artifact store, by relative name.

        Raises:
            SourceError: the store does not answer.
            BadInput: its library is missing.
        """
        with _as_source_error(f"{version.name}/{version.version}", self._where):
            return dict(_listed(self._store(version)))

    def fetch(self, version: PublishedVersion, name: str, target: Path) -> None:
        """One file of it, whole; raises as ``files``, and BadInput where it is not there."""
        with _as_source_error(f"{version.name}/{version.version}: {name}", self._where):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._store(version)._download_file(name, str(target))
        if not target.is_file():
            raise BadInput(f"{version.name}/{version.version} has no file {name}")

    def text(self, version: PublishedVersion, name: str) -> bytes | None:
        """A small file of the version's artifacts; None where it has none."""
        try:
            if self.files(version).get(name, _MOST_TEXT) >= _MOST_TEXT:
                return None
            with tempfile.TemporaryDirectory() as folder:
                self.fetch(version, name, Path(folder) / "text")
                return (Path(folder) / "text").read_bytes()
        except (SourceError, BadInput):
            return None

    def _store(self, version: PublishedVersion) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(
            self.address(version), tracking_uri=self._where, registry_uri=self._where
        )


def without_login(address: str) -> str:
    """An address that may be shown.

    >>> without_login("https://user:word@mlflow.example.org/x")
    'https://mlflow.example.org/x'
    """
    scheme, slashes, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


@contextlib.contextmanager
def _as_source_error(what: str, where: str) -> Iterator[None]:
    """What MLflow and the clients below it raise becomes an error of ours."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except ImportError as error:
        raise BadInput(
            f"mlflow://models:/{what}: the registry's artifact store needs a library ({error}); "
            "install it beside mlflow-skinny (boto3 for s3://)"
        ) from error
    except (OSError, MlflowException, *_of_clients()) as error:
        said = " ".join(str(error).split()).replace(where, without_login(where))
        words = f"{type(error).__name__}: {said}"[:300]
        raise SourceError(f"mlflow://models:/{what}: {words}") from error


def _of_clients() -> tuple[type[Exception], ...]:
    found: list[type[Exception]] = []
    for module, name in (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("boto3.exceptions", "Boto3Error"),
    ):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def _listed(store: Any, folder: str | None = None) -> Iterator[tuple[str, int]]:
    """Names that a store makes up are taken only where they lie below what was asked."""
    for one in store.list_artifacts(folder):
        path = str(one.path)
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or not path.isprintable():
            continue
        if folder is not None and not path.startswith(f"{folder}/"):
            continue
        if one.is_dir:
            yield from _listed(store, path)
        elif one.file_size is not None:
            yield path, int(one.file_size)


def _moves(tags: Any) -> Iterator[AliasMove]:
    for key in sorted(tags, key=lambda key: str(key).rpartition(_MOVE)[2].partition(".")[2]):
        if not str(key).startswith(_MOVE):
            continue
        try:
            yield AliasMove.parse(json.loads(tags[key]), str(key))
        except (ValueError, SpecError):  # somebody wrote there by hand
            continue


def _iso(milliseconds: int | None) -> str:
    at = datetime.fromtimestamp((milliseconds or 0) / 1000, UTC)
    return at.isoformat(timespec="seconds")
