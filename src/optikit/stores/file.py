"""The local registry and the content-addressed store, as plain files below OptiKIT's home.

::

    <home>/models/<name>/<version>.json     what a name and version stand for
    <home>/artifacts/<sha256>/              a folder by content; its files are read-only
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from optikit.adapters.disk import delete, put_away, sync
from optikit.adapters.files import inside
from optikit.errors import BadInput, DatasetError, OptikitError, UnknownName, nearest
from optikit.spec.candidate import ArtifactRef
from optikit.spec.permit import ANYTHING, Permit
from optikit.stores._folder import DATASET_SUFFIXES, brings_code, dataset_files, model_files
from optikit.stores._writing import (
    copy_file,
    held,
    link_file,
    replace,
    sync_folders,
    write_new,
)
from optikit.stores.base import RegisteredModel
from optikit.stores.contents import digest_of, line_of, looks_like, sizes_of
from optikit.stores.hub import SCHEME, download

__all__ = ["FileModelStore"]

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,127}")
_STALE_S = 86_400.0
_Found = Callable[[Path], list[str]]


class FileModelStore:
    """Models and datasets below one folder; safe for several processes at once.

    A digest is the SHA-256 over the sorted lines ``<relative path>\\0<size>\\0<file's SHA-256>``.
    Nothing is ever changed in place: entries and folders appear whole, by one rename or link.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()

    @property
    def _models(self) -> Path:
        return self.home / "models"

    @property
    def _artifacts(self) -> Path:
        return self.home / "artifacts"

    def find(self, name: str, version: str) -> RegisteredModel:
        """The model of that name and version.

        Raises:
            UnknownName: nobody registered it; names the command that does.
            BadInput: it is registered, but its folder is gone.
        """
        entry = self._entry(name, version)
        if not entry.is_file():
            versions = [model.version for model in self.list() if model.name == name]
            known = (
                f"registered versions of it: {', '.join(versions)}"
                if versions
                else nearest(name, {model.name for model in self.list()})
            )
            raise UnknownName(
                f"model {name!r} version {version!r} is not registered; {known}. Register it with: "
                f"optikit models add PATH --name {name} --version {version}"
            )
        model = _read(entry)
        if not Path(model.path).is_dir():
            raise BadInput(
                f"model {name!r} version {version!r} is registered, but its folder {model.path} is "
                f"gone; remove {entry} and register it again: "
                f"optikit models add PATH --name {name} --version {version}"
            )
        return model

    def add(
        self,
        path: Path,
        name: str,
        version: str | None,
        tags: dict[str, str] | None = None,
        *,
        permit: Permit = ANYTHING,
    ) -> RegisteredModel:
        """Register a folder. ``version`` None: one more than the highest whole number.

        The same content under the same name and version again is the entry that exists.

        Raises:
            BadInput: not a model folder, or the version exists with other content.
            UnsafeInput: pickle weights, or code that is not permitted, in the folder.
        """
        self._entry(name, version or "1")  # a bad name costs no copy
        artifact = self.take(path, permit=permit)
        while True:
            chosen = version or self._next_version(name)
            model = RegisteredModel(
                name=name,
                version=chosen,
                path=artifact.path,
                digest=artifact.digest,
                size_bytes=artifact.size_bytes,
                created=datetime.now(UTC).isoformat(timespec="microseconds"),
                tags=tags or {},
            )
            entry = self._entry(name, chosen)
            if write_new(entry, model.model_dump_json(indent=2) + "\n"):
                return model
            existing = _read(entry)
            if version is None:
                continue  # somebody else took the number
            if existing.digest == model.digest:
                if existing.path == model.path:
                    return existing
                # the home folder was moved: same content, new place
                moved = existing.model_copy(update={"path": model.path})
                replace(entry, moved.model_dump_json(indent=2) + "\n")
                return moved
            raise BadInput(
                f"model {name!r} version {version!r} is registered with other content "
                f"({existing.digest[:19]}..., created {existing.created}); versions never change: "
                "choose another one"
            )

    def list(self) -> list[RegisteredModel]:
        """All models, by name and then age."""
        models = [_read(entry) for entry in self._models.glob("*/*.json")]
        return sorted(models, key=lambda model: (model.name, model.created, model.version))

    def stored(self) -> dict[str, int]:
        """Bytes of all that is in the content-addressed store, by digest (``sha256:`` first)."""
        return {f"sha256:{name}": sum(sizes.values()) for name, sizes in self._sizes().items()}

    def missing_bytes(self, path: Path, *, dataset: bool = False, permit: Permit = ANYTHING) -> int:
        """As stores/base.py: nothing is hashed; what has the same names and sizes may be it."""
        try:
            root = inside(path.absolute(), permit.roots, "disk")
            if root.is_file():
                names, root = [root.name], root.parent
            else:
                names = dataset_files(root) if dataset else model_files(root, permit.code)
            asked = {name: (root / name).stat().st_size for name in names}
        except (OptikitError, OSError):
            return 0  # taking it will say what is wrong
        return 0 if asked in self._sizes().values() else sum(asked.values())

    def _sizes(self) -> dict[str, dict[str, int]]:
        """Files of each artifact with their bytes, by its hex digest."""
        found = self._artifacts.glob("[!.]*") if self._artifacts.is_dir() else ()
        return {folder.name: sizes_of(folder) for folder in found if folder.is_dir()}

    def take(
        self,
        path: Path,
        *,
        move: bool = False,
        permit: Permit = ANYTHING,
        digests: Mapping[str, str] | None = None,
    ) -> ArtifactRef:
        """Bring a model folder into the content-addressed store, verified, whole or not at all.

        Which files are taken: see ``stores/_folder.py``. A folder that is an artifact already is
        verified against its digest, not copied.

        Args:
            move: do not copy; the folder is gone when this returns (for what a job made itself).
            permit: where the folder may lie, and whether it may bring code.
            digests: SHA-256 (hex) of its files, of a caller who computed them since anybody else
                could write there; None: they are computed here.

        Raises:
            BadInput: no config.json, weights that are missing or cut short, an artifact whose
                content is no longer that of its digest.
            UnsafeInput: pickle weights or code that is not permitted in the folder, or a link that
                leaves it or its roots.
        """
        path = path.absolute()
        found = partial(model_files, code=permit.code)
        roots = None if move else permit.roots
        artifact = self._take(path, found, "model", roots, move, digests or {})
        if move and path.resolve() != Path(artifact.path).resolve():
            shutil.rmtree(path, ignore_errors=True)
        return artifact

    def take_dataset(
        self, source: Path | str, split: str = "train", *, permit: Permit = ANYTHING
    ) -> ArtifactRef:
        """As stores/base.py. Other files of a folder stay behind; the artifact is a folder."""
        if str(source).startswith(SCHEME):
            self._artifacts.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".hub-", dir=self._artifacts) as folder:
                return self.take_dataset(download(str(source), Path(folder), split))
        path = Path(source).absolute()
        inside(path, permit.roots, "dataset.path")
        if not path.exists():
            raise DatasetError(f"no dataset at {path}; give a folder or file that exists")
        root = path if path.is_dir() else path.parent
        if path.is_file() and path.suffix not in DATASET_SUFFIXES:
            raise DatasetError(f"{path} is no JSONL, parquet or text file; name it .jsonl/.parquet")
        found = dataset_files if path.is_dir() else _only(path.name)
        return self._take(root, found, "dataset", permit.roots)

    def _take(
        self,
        root: Path,
        found: _Found,
        kind: Literal["model", "dataset"],
        roots: Sequence[str] | None,
        move: bool = False,
        digests: Mapping[str, str] = MappingProxyType({}),
    ) -> ArtifactRef:
        """Args: found: names of the files that are taken; refuses the folder by raising."""
        inside(root, roots, kind)
        lines = {name: line_of(root / name, roots, digests.get(name)) for name in found(root)}
        digest = digest_of(lines)
        target = self._artifacts / digest
        stored = root.resolve()
        if stored.parent == self._artifacts.resolve() and stored.name != digest:
            raise BadInput(
                f"the artifact {stored} was changed after it was stored (its content is now "
                f"{digest[:12]}...); remove it and register the original again"
            )
        if not self._touched(target, lines):
            self._bring(root, lines, target, found, roots, move)
        elif sorted(found(target)) != sorted(lines):  # an earlier job may have been allowed more
            raise BadInput(f"{root} changed while it was read; try again")
        return ArtifactRef(
            kind=kind,
            digest=f"sha256:{digest}",
            path=str(target),
            size_bytes=sum(size for size, _ in lines.values()),
            brings_code=kind == "model" and brings_code(target, lines),
        )

    def _bring(
        self,
        root: Path,
        lines: dict[str, tuple[int, str]],
        target: Path,
        found: _Found,
        roots: Sequence[str] | None,
        move: bool,
    ) -> None:
        self._artifacts.mkdir(parents=True, exist_ok=True)
        self._sweep()
        work = Path(tempfile.mkdtemp(prefix=".taking-", dir=self._artifacts))
        try:
            for name, line in lines.items():
                copy = work / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if move and link_file(root / name, copy):
                    continue
                if copy_file(root / name, copy, roots) != line:
                    raise BadInput(f"{root / name} changed while it was read; try again")
            # what was looked at is not yet what was read: the copy, which nobody else writes, is
            if sorted(found(work)) != sorted(lines):
                raise BadInput(f"{root} changed while it was read; try again")
            sync_folders(work)
            work.chmod(0o755)
            os.utime(work)  # taken now, however long the copy took
            if target.exists() and not looks_like(target, lines):
                target.rename(work.with_name(f"{work.name}-damaged"))
            try:
                work.rename(target)
            except OSError:
                if not looks_like(target, lines):
                    raise  # else somebody else stored the same content meanwhile
            sync(self._artifacts)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _touched(self, target: Path, lines: dict[str, tuple[int, str]]) -> bool:
        """Whether the artifact is there; then it is taken now, and ``discard`` leaves it alone."""
        if not target.is_dir():
            return False
        with held(self._artifacts, alone=False):
            there = looks_like(target, lines)
            if there:
                with contextlib.suppress(OSError):  # a store of somebody else's
                    os.utime(target)
            return there

    def discard(self, digest: str, taken_s: float) -> bool:
        """Remove an artifact that nobody needs; False where somebody took it meanwhile.

        Args:
            digest: 64 hex digits.
            taken_s: when it was last taken, as the caller saw it (``st_mtime`` of its folder).

        Raises:
            ArchiveError: it cannot be removed.
        """
        target = self._artifacts / digest
        with held(self._artifacts, alone=True):
            try:
                if target.stat().st_mtime != taken_s:
                    return False
            except FileNotFoundError:
                return False
            away = put_away(target)
        delete(away)
        return True

    def _sweep(self) -> None:
        """Remove what a killed process left half-taken, long ago enough that none is at work."""
        for left in self._artifacts.glob(".taking-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _STALE_S:
                    shutil.rmtree(left, ignore_errors=True)

    def _entry(self, name: str, version: str) -> Path:
        """Raises BadInput for a name or version that could leave the registry."""
        for what, word in (("name", name), ("version", version)):
            if not _NAME.fullmatch(word):
                raise BadInput(
                    f"{word!r} cannot be a model's {what}; use up to 128 letters, digits and "
                    "._+- and begin with a letter or digit"
                )
        return self._models / name / f"{version}.json"

    def _next_version(self, name: str) -> str:
        taken = [entry.stem for entry in (self._models / name).glob("*.json")]
        return str(max((int(v) for v in taken if v.isdecimal()), default=0) + 1)


def _only(name: str) -> _Found:
    return lambda folder: [name]


def _read(entry: Path) -> RegisteredModel:
    try:
        content = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"the registry entry {entry} cannot be read: {error}") from None
    return RegisteredModel.parse(content, str(entry))
