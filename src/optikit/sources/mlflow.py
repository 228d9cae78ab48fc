"""``mlflow://models:/NAME@ALIAS`` and ``mlflow://models:/NAME/VERSION``: a registered model.

The registry is that of $OPTIKIT_MLFLOW_URI, else the one below OptiKIT's home. Of a bundle that a
job published its ``model/`` is taken, from the first of these that has it: this home's store, the
folder that the version names, the address to which the bundle was brought, the registry's own
artifact store. Of another version, a folder with a ``config.json`` in that store.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from optikit.adapters.mlflow import registry
from optikit.adapters.mlflow_registry import MlflowRegistry
from optikit.core.addresses import Address, RemoteFile, allowed, is_address
from optikit.core.checksums import LIST
from optikit.core.paths import path_of
from optikit.errors import BadInput, OptikitError, SourceError, SpecError, UnsafeInput
from optikit.plugins import Room
from optikit.sources._local import LocalFolder
from optikit.sources.base import Asker, Source, Tree
from optikit.spec.published import PublishedVersion

__all__ = ["SOURCE"]

_PLACE = re.compile(
    r"models:/(?P<name>[A-Za-z0-9][\w.+-]*)(@(?P<alias>[\w-]+)|/(?P<version>\d+))", re.ASCII
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_MODEL, _CONFIG = "model", "config.json"


class Registered:
    """Versions of MLflow's registry of models."""

    name = "mlflow"

    def open(self, address: Address, asker: Asker) -> Tree:
        """See base.Source."""
        version = _resolved(address, asker.home)
        pinned = f"mlflow://models:/{version.name}/{version.version}"
        digest = version.tags.get("model_digest")
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise BadInput(f"{pinned}: its tag model_digest is {digest!r:.80}, which is none")
        why: list[str] = []
        for place in (_in_the_store, _in_its_folder, _brought_elsewhere):
            found = place(version, asker, why)
            if found is not None:
                return _Model(found, pinned, digest)
        return _Model(_kept(version, asker, pinned, why), pinned, digest)


def _resolved(address: Address, home: Path) -> PublishedVersion:
    asked = _PLACE.fullmatch(address.place)
    if asked is None:
        raise SpecError(
            f"{address}: a registered model is written mlflow://models:/NAME@ALIAS or "
            "mlflow://models:/NAME/VERSION"
        )
    with _asked(home) as there:
        model = there.model(asked["name"])
    number = asked["version"] or model.aliases.get(asked["alias"])
    version = model.version(number) if number else None
    if version is None:
        known = ", ".join(f"{a} ({v})" for a, v in sorted(model.aliases.items())) or "none"
        numbers = ", ".join(one.version for one in model.versions[-5:]) or "none"
        raise BadInput(
            f"{address}: there is no such version; aliases: {known}; newest versions: {numbers}"
        )
    return version


@contextmanager
def _asked(home: Path) -> Iterator[MlflowRegistry]:
    """A registry that is away may be there later."""
    try:
        with registry(home) as there:
            if there is None:
                raise BadInput(
                    f"no model was published below {home}; set OPTIKIT_MLFLOW_URI where a server "
                    "has it"
                )
            yield there
    except (BadInput, SourceError):
        raise
    except OptikitError as error:
        raise SourceError(str(error)) from error


def _in_the_store(version: PublishedVersion, asker: Asker, why: list[str]) -> Tree | None:
    """What a home made, or brought before, it has by content."""
    digest = version.tags.get("model_digest", "")
    folder = asker.home / "artifacts" / digest.removeprefix("sha256:")
    return LocalFolder(folder) if digest and folder.is_dir() else None


def _in_its_folder(version: PublishedVersion, asker: Asker, why: list[str]) -> Tree | None:
    """Who may write tags could name any path: a site's roots hold here as for a job's own."""
    named = version.tags.get("bundle")
    if named is None:
        return None
    folder = Path(named) / _MODEL
    if not (folder / _CONFIG).is_file():
        why.append(f"no bundle at {named}")
        return None
    tree = LocalFolder(folder, asker.permit.roots)
    try:
        tree.files()
    except UnsafeInput as error:
        why.append(str(error))
        return None
    return tree


def _brought_elsewhere(version: PublishedVersion, asker: Asker, why: list[str]) -> Tree | None:
    """Below the address, as everywhere, only what a site allows."""
    text = version.tags.get("bundle_address")
    if text is None:
        return None
    try:
        listed = Address.parse(text, "bundle_address")
        if listed.scheme == SOURCE.name:
            raise SpecError(f"{listed} leads in a circle")
        folder = Address(listed.scheme, listed.place.removesuffix(f"/{LIST}"))
        allowed(folder, asker.permit.addresses, "bundle_address")
        sources: Room[Source] = Room("optikit.sources", "SOURCE")
        tree = _Below(sources.load(folder.scheme).open(folder, asker), f"{_MODEL}/")
        tree.files()
    except (BadInput, SourceError) as error:
        why.append(str(error))
        return None
    return tree


def _kept(version: PublishedVersion, asker: Asker, pinned: str, why: list[str]) -> Tree:
    """In the registry's artifact store."""
    with _asked(asker.home) as there:
        where = there.address(version)
        if where.startswith("mlflow-artifacts:"):
            pass  # the server hands them out
        elif is_address(where):
            allowed(Address.parse(where, "artifacts"), asker.permit.addresses, "artifacts")
        else:  # a folder of this machine, as MLflow without a server has it
            folder = path_of(where)
            for tree in (folder / _MODEL, folder):
                if (tree / _CONFIG).is_file():
                    return LocalFolder(tree, asker.permit.roots)
            why.append(f"no model at {folder}")
            raise _nowhere(pinned, why)
        files = there.files(version)
    prefix = next((p for p in (f"{_MODEL}/", "") if f"{p}{_CONFIG}" in files), None)
    if prefix is None:
        why.append(f"the artifact store has {', '.join(sorted(files)[:5]) or 'nothing'}")
        raise _nowhere(pinned, why)

    def fetch(name: str, target: Path) -> None:
        with _asked(asker.home) as there:
            there.fetch(version, name, target)

    return _Below(_Artifacts(files, fetch, asker.home / "remote", pinned), prefix)


def _nowhere(pinned: str, why: list[str]) -> BadInput:
    return BadInput(
        f"{pinned}: its model is nowhere to be had from here: {'; '.join(why)}. Publish it with "
        "publish.uri so that other machines find it, or run the job where its bundle lies"
    )


class _Below:
    """A folder of a tree."""

    digest: str | None = None

    def __init__(self, tree: Tree, prefix: str) -> None:
        self._tree, self._prefix = tree, prefix
        self.pinned = tree.pinned

    def files(self) -> dict[str, RemoteFile]:
        found = {
            name.removeprefix(self._prefix): file
            for name, file in self._tree.files().items()
            if name.startswith(self._prefix)
        }
        if _CONFIG not in found:
            raise BadInput(f"{self.pinned}: no {self._prefix}{_CONFIG} is there")
        return found

    def read(self, name: str, start: int, stop: int) -> bytes:
        return self._tree.read(f"{self._prefix}{name}", start, stop)

    def write(self, name: str, source: Path) -> None:
        raise _read_only(self.pinned)

    def remove(self, name: str) -> None:
        raise _read_only(self.pinned)


class _Model(_Below):
    """What was found, under the name of the version and with its digest."""

    def __init__(self, tree: Tree, pinned: str, digest: str | None) -> None:
        super().__init__(tree, "")
        self.pinned, self.digest = pinned, digest


class _Artifacts:
    """Files that MLflow hands out whole: each lies in a folder of its own while it is read."""

    digest: str | None = None

    def __init__(
        self,
        files: Mapping[str, int],
        fetch: Callable[[str, Path], None],
        spool: Path,
        pinned: str,
    ) -> None:
        self._sizes, self._fetch, self.pinned = dict(files), fetch, pinned
        spool.mkdir(parents=True, exist_ok=True)
        self._spool = Path(tempfile.mkdtemp(prefix=".mlflow-", dir=spool))
        weakref.finalize(self, shutil.rmtree, self._spool, ignore_errors=True)
        self._lock = threading.Lock()

    def files(self) -> dict[str, RemoteFile]:
        """A version's files never change."""
        return {name: RemoteFile(size, self.pinned) for name, size in self._sizes.items()}

    def read(self, name: str, start: int, stop: int) -> bytes:
        path = self._spool / name
        with self._lock:
            if not path.is_file():
                part = path.with_name(f"{path.name}.part")
                self._fetch(name, part)
                part.rename(path)
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(stop - start)
        if len(data) != stop - start:
            path.unlink()
            raise SourceError(f"{self.pinned}: {name} is shorter than its store says")
        if stop == self._sizes[name] and start == 0:
            path.unlink()  # a small file, read at once
        return data

    def write(self, name: str, source: Path) -> None:
        raise _read_only(self.pinned)

    def remove(self, name: str) -> None:
        raise _read_only(self.pinned)


def _read_only(pinned: str) -> BadInput:
    return BadInput(
        f"{pinned}: nothing is written there; a bundle becomes a version by being published"
    )


SOURCE = Registered()
