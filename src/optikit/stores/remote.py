"""What lies elsewhere, brought into the content-addressed store once for all jobs of a home.

::

    <home>/remote/<key>/        files on their way; the next job goes on where one stopped
    <home>/remote/<key>.json    which artifact they became; <key>.lock: one process at a time

A key is the SHA-256 of the address and of every file's name, size and mark there: what changed
there has another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from optikit.core.addresses import Address, RemoteFile, allowed
from optikit.core.checksums import LIST, PARTIAL_LIST, parse_sums
from optikit.errors import BadInput, DatasetError, OptikitError, SourceError
from optikit.journal import patiently, write_whole
from optikit.sources import SOURCES
from optikit.sources.base import Asker, Tree
from optikit.spec.candidate import ArtifactRef
from optikit.spec.model import ModelShape
from optikit.spec.permit import ANYTHING, Permit
from optikit.stores._folder import DATASET_SUFFIXES, is_model_file
from optikit.stores._transfer import MAX_LIST, Progress, download, persist, upload
from optikit.stores.base import Arrival
from optikit.stores.file import FileModelStore
from optikit.stores.shapes import shape_of_text

__all__ = [
    "PATIENCE",
    "RemoteStore",
    "missing_elsewhere",
    "patience_s",
    "patiently_asked",
    "shape_elsewhere",
]

PATIENCE = "OPTIKIT_SOURCE_PATIENCE_S"
_PATIENCE_S = 120.0
_STALE_S = 7 * 86_400.0
_CONFIG = "config.json"
_MAX_CONFIG = 16 << 20

Kind = Literal["model", "dataset"]
T = TypeVar("T")


class RemoteStore:
    """Brings folders into a home's store; safe for several processes at once.

    Args:
        make_room: called before a transfer begins, with its bytes.
    """

    def __init__(
        self, home: Path, make_room: Callable[[int], None] = lambda coming_bytes: None
    ) -> None:
        self.home = home.absolute()
        self._make_room = make_room

    def bring(
        self,
        text: str,
        kind: Kind,
        permit: Permit = ANYTHING,
        progress: Progress = lambda done, total: None,
    ) -> Arrival:
        """As stores/base.py."""
        key = "model.uri" if kind == "model" else "dataset.path"
        tree = _opened(text, key, permit, self.home)
        store, began = FileModelStore(self.home), time.monotonic()
        there = self._by_digest(tree.digest)
        if there is not None:
            return Arrival(self._take(store, there, kind, permit, None), tree.pinned, 0, 0.0)
        files = patiently_asked(lambda: _taken(tree, kind, permit.code))
        name = _name_of(tree.pinned, files)
        coming = self.home / "remote" / name
        coming.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with _alone(coming.with_suffix(".lock")):
            known = self._known(name)
            if known is not None:
                found = self._take(store, known, kind, permit, None)
                return Arrival(found, tree.pinned, 0, 0.0)
            if not coming.is_dir():  # else its own bytes are here in part
                self._make_room(sum(file.size for file in files.values()))
            digests = patiently(
                lambda: download(tree, files, coming, patience_s(), progress),
                f"store {tree.pinned}",
            )
            if patiently_asked(lambda: _taken(tree, kind, permit.code)) != files:
                shutil.rmtree(coming, ignore_errors=True)
                raise BadInput(f"{tree.pinned} changed while it was read; try again")
            artifact = self._take(store, coming, kind, permit, digests)
            if tree.digest not in (None, artifact.digest):
                shutil.rmtree(coming, ignore_errors=True)
                raise BadInput(
                    f"{tree.pinned} was published with {tree.digest}, but what is there now has "
                    f"{artifact.digest}; it was changed since, or is not whole"
                )
            self._remember(name, tree.pinned, artifact)
            shutil.rmtree(coming, ignore_errors=True)
        size = sum(file.size for file in files.values())
        return Arrival(artifact, tree.pinned, size, time.monotonic() - began)

    def send(self, folder: Path, text: str, permit: Permit = ANYTHING) -> str:
        """As stores/base.py."""
        files = (path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in files]
        tree = _opened(text, "publish.uri", permit, self.home)
        digest = upload(folder, names, tree, patience_s())
        return f"{tree.pinned}/{LIST}#sha256={digest}"

    def _take(
        self,
        store: FileModelStore,
        folder: Path,
        kind: Kind,
        permit: Permit,
        digests: Mapping[str, str] | None,
    ) -> ArtifactRef:
        """Into the store; the roots of a site are for its own files, not for what came here."""
        inside = permit.model_copy(update={"roots": None})
        if kind == "model":
            move = digests is not None  # it came just now; else it is in the store already
            return store.take(folder, move=move, permit=inside, digests=digests)
        return store.take_dataset(folder, permit=inside)

    def _by_digest(self, digest: str | None) -> Path | None:
        """The artifact of that content, if it is in the store; taking it checks it."""
        if digest is None:
            return None
        path = self.home / "artifacts" / digest.removeprefix("sha256:")
        return path if path.is_dir() else None

    def fetched(self) -> frozenset[str]:
        """Digests, 64 hex digits, of all that came here from elsewhere, gone again or not."""
        found = set()
        for path in (self.home / "remote").glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.add(str(json.loads(path.read_text())["digest"]).removeprefix("sha256:"))
        return frozenset(found)

    def _known(self, name: str) -> Path | None:
        """The artifact that came under this key, if it is still there."""
        try:
            entry = json.loads((self.home / "remote" / f"{name}.json").read_text())
            path = self.home / "artifacts" / str(entry["digest"]).removeprefix("sha256:")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not path.is_dir():
            return None
        os.utime(path)  # it was of use today
        return path

    def _remember(self, name: str, address: str, artifact: ArtifactRef) -> None:
        entry = {
            "address": address,
            "digest": artifact.digest,
            "size_bytes": artifact.size_bytes,
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_whole(self.home / "remote" / f"{name}.json", json.dumps(entry, indent=2) + "\n")

    def _sweep(self) -> None:
        """Remove what nobody went on with for a week."""
        for left in (self.home / "remote").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left.is_dir() and time.time() - left.stat().st_mtime > _STALE_S:
                    shutil.rmtree(left, ignore_errors=True)


def shape_elsewhere(text: str, home: Path, permit: Permit = ANYTHING) -> ModelShape:
    """The shape that the config.json of a model elsewhere describes; nothing else is read.

    Raises:
        BadInput: no model there, or not a decoder-only transformer.
        UnsafeInput: its site does not allow the address.
        SourceError: the place does not answer.
    """
    tree = _opened(text, "model.uri", permit, home)

    def read() -> bytes:
        file = tree.files().get(_CONFIG)
        if file is None or file.size > _MAX_CONFIG:
            raise BadInput(
                f"model.uri: {tree.pinned} is no model folder: no {_CONFIG} in it; give a folder "
                "in Hugging Face format (config.json, *.safetensors, tokenizer files)"
            )
        return tree.read(_CONFIG, 0, file.size)

    return shape_of_text(patiently_asked(read, 10.0), f"{tree.pinned}/{_CONFIG}")


def missing_elsewhere(text: str) -> str | None:
    """What is wrong with a folder that ``send`` brought somewhere; None: its list is the same, and
    every file of it is there. Their content is not read.

    Args:
        text: the address that ``send`` gave, with the digest of the list.
    """
    try:
        listed = Address.parse(text, "bundle_address")
        folder = f"{listed.scheme}://{listed.place.removesuffix(f'/{LIST}')}"
        tree = _opened(folder, "bundle_address", ANYTHING, Path())
        files = patiently_asked(tree.files, 10.0)
        size = files[LIST].size if LIST in files else 0
        if not 0 < size <= MAX_LIST:
            return f"{folder} has no {LIST}"
        raw = patiently_asked(lambda: tree.read(LIST, 0, size), 10.0)
        if hashlib.sha256(raw).hexdigest() != listed.sha256:
            return f"{folder} has not the {LIST} that was written there"
        missing = set(parse_sums(raw.decode(errors="replace"), folder)) - set(files)
    except (BadInput, SourceError) as error:
        return str(error)
    return f"{folder} lacks {_some(missing)}" if missing else None


def _opened(text: str, key: str, permit: Permit, home: Path) -> Tree:
    address = Address.parse(text, key)
    allowed(address, permit.addresses, key)
    asker = Asker(home, permit)
    return patiently_asked(lambda: SOURCES.load(address.scheme).open(address, asker), 10.0)


def _taken(tree: Tree, kind: Kind, code: bool) -> dict[str, RemoteFile]:
    """The files that are wanted of those there: others are not moved at all.

    What a list of digests among them says, they must have.
    """
    found = dict(tree.files())
    if PARTIAL_LIST in found and LIST not in found:
        raise BadInput(
            f"{tree.pinned} is not whole: it has {PARTIAL_LIST} and no {LIST}, so somebody is "
            "sending files there, or broke off; send them again"
        )
    if LIST in found and found[LIST].size <= MAX_LIST:
        text = tree.read(LIST, 0, found[LIST].size).decode(errors="replace")
        for name, sha256 in parse_sums(text, f"{tree.pinned}/{LIST}").items():
            if name in found:
                found[name] = replace(found[name], sha256=sha256)
    if kind == "dataset":
        wanted = {name: f for name, f in found.items() if Path(name).suffix in DATASET_SUFFIXES}
        if not wanted:
            raise DatasetError(
                f"dataset.path: {tree.pinned} has no file of {', '.join(sorted(DATASET_SUFFIXES))}"
            )
        return wanted
    wanted = {
        name: file
        for name, file in found.items()
        if (is_model_file(name) or (code and name.endswith(".py")))
        and not any(part.startswith(".") for part in name.split("/"))
    }
    if _CONFIG not in wanted or not any(name.endswith(".safetensors") for name in wanted):
        raise BadInput(
            f"model.uri: {tree.pinned} is no model folder: it has {_some(found)}; config.json and "
            "*.safetensors are needed (pickle weights are not taken)"
        )
    return wanted


def _some(found: Iterable[str]) -> str:
    names = sorted(found)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _name_of(pinned: str, files: Mapping[str, RemoteFile]) -> str:
    facts = [[name, file.size, file.mark] for name, file in sorted(files.items())]
    return hashlib.sha256(json.dumps([pinned, facts]).encode()).hexdigest()[:32]


def patience_s() -> float:
    """How long a place that is away is waited for, in all."""
    asked = os.environ.get(PATIENCE, "")
    try:
        return float(asked) if asked else _PATIENCE_S
    except ValueError:
        raise OptikitError(f"{PATIENCE}={asked!r} is no number of seconds") from None


def patiently_asked(ask: Callable[[], T], for_s: float | None = None) -> T:
    """Ask a place that may be away for a while.

    Args:
        for_s: None: ``patience_s()``.

    Raises:
        SourceError: it was away for that long.
    """
    return persist(ask, patience_s() if for_s is None else for_s)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: the others wait, and then find what it brought."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
