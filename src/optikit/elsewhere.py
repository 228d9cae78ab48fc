"""Archives of ended jobs, brought to a bucket, HDFS or a folder, and back.

There an archive is a folder named by its job's id, whole once its ``SHA256SUMS`` is there. What
comes back is a stranger's until it was checked: it gets its name when every digest holds, no name
in it leads out of it, and the journal can be read. It stays marked as pulled: its processes, models
and bundle are another machine's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from optikit.adapters.disk import sync
from optikit.archive import JobArchive, default_home, is_id, open_job
from optikit.core.addresses import Address, RemoteFile, is_address
from optikit.core.checksums import LIST, PARTIAL_LIST, parse_sums
from optikit.core.paths import path_of
from optikit.errors import ArchiveError, BadInput, OptikitError, UnsafeInput
from optikit.journal import write_whole
from optikit.reports.summary import FINAL, state_of
from optikit.sources import SOURCES
from optikit.sources._local import LocalFolder
from optikit.sources.base import Asker, Tree
from optikit.stores._transfer import download, sha256_of, upload
from optikit.stores.remote import patience_s, patiently_asked

__all__ = ["Carried", "pull_archive", "push_archive"]

_JOURNAL, _PLAN, _JOB, _PULLED = "journal.jsonl", "plan.json", "job.json", "pulled.json"
_OWN = frozenset({"driver.lock", "queue.json", _PULLED, LIST, PARTIAL_LIST})
"""Of this machine alone."""
_UNFINISHED = ("candidates",)
"""Folders of what was not finished: weights in the making."""
_MOST_LIST = 64 << 20
_MOST_PLAN = 64 << 20
_STALE_S = 7 * 86_400.0
_ID = re.compile(r"(?!\.)[\w.+-]{1,128}", re.ASCII)


@dataclass(frozen=True)
class Carried:
    """What was brought."""

    job_id: str
    address: str
    """Where it lies elsewhere, with the digest of its list of files."""
    files: int
    bytes: int
    moved: bool = True
    """False: it was here already, the same."""


def push_archive(job: str, uri: str, home: Path | None = None) -> Carried:
    """Bring an ended job's archive below an address, under the job's id; there, what is the same
    is not sent again.

    Args:
        job: id, a unique beginning of it, or ``last``.
        uri: ``s3://BUCKET/FOLDER``, ``webhdfs://...``, ``file:///FOLDER`` or a path.

    Raises:
        UnknownName: no such job.
        BadInput: it has not ended, another archive is there under its id, or nobody may write.
        SourceError: the place does not answer.
    """
    root = (home or default_home()).absolute()
    archive = open_job(root, job)
    state = state_of(archive)["state"]
    if state not in FINAL or archive.driver_alive():
        raise BadInput(
            f"job {archive.job_id} is {state}: an archive is brought elsewhere when its job has "
            "ended"
        )
    names = list(_own_files(archive.root))
    where, _ = _place(uri)
    tree = _opened(f"{where.rstrip('/')}/{archive.job_id}", root)
    _must_be_the_same(archive, tree)
    digest = upload(archive.root, names, tree, patience_s())
    size = sum((archive.root / name).stat().st_size for name in names)
    address = f"{tree.pinned}/{LIST}#sha256={digest}"
    return Carried(archive.job_id, address, len(names), size)


def pull_archive(uri: str, home: Path | None = None) -> Carried:
    """Bring an archive here that ``push_archive`` brought there.

    Args:
        uri: what it gave; without ``/SHA256SUMS#sha256=...`` the list that is there is believed.

    Raises:
        BadInput: no whole archive is there, or another one of this id is here.
        UnsafeInput: names that lead out of it.
        ArchiveError: it cannot be read.
        SourceError: the place does not answer.
        DiskFull: it does not fit.
    """
    root = (home or default_home()).absolute()
    where, expected = _place(uri)
    job_id = where.rstrip("/").rpartition("/")[2]
    if not is_id(job_id):
        raise BadInput(f"{where} ends with no job id; give the address that push printed")
    tree = _opened(where, root, expected)
    files, listed = patiently_asked(lambda: _listed(tree, expected))
    carried = Carried(
        job_id,
        f"{where.rstrip('/')}/{LIST}#sha256={listed}",
        len(files),
        sum(file.size for file in files.values()),
    )
    target = root / "jobs" / job_id
    (root / "remote").mkdir(parents=True, exist_ok=True)
    with _alone(root / "remote" / f"pull-{job_id}.lock"):
        if target.exists():
            _must_be_equal(target, files)
            return replace(carried, moved=False)
        _sweep(root / "jobs")
        stage = root / "jobs" / f".pulling-{listed[:16]}"
        coming = JobArchive(stage, job_id)
        download(tree, files, coming.root, patience_s())
        try:
            _must_be_readable(coming)
        except OptikitError:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        facts = {"address": carried.address, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_whole(coming.root / _PULLED, json.dumps(facts, indent=2) + "\n")
        sync(coming.root)
        coming.root.rename(target)  # fails where somebody opened a job of this id meanwhile
        sync(target.parent)
        shutil.rmtree(stage, ignore_errors=True)
    return carried


def _own_files(root: Path) -> Iterator[str]:
    """Regular files of an archive, without this machine's own."""
    for base, folders, names in os.walk(root):
        at = Path(base).relative_to(root)
        folders[:] = [
            name
            for name in folders
            if not (name.startswith(".") or (Path(base) / name).is_symlink())
            and (at / name).as_posix() not in _UNFINISHED
        ]
        for name in names:
            path, relative = Path(base) / name, (at / name).as_posix()
            plain = path.is_file() and not path.is_symlink() and not name.startswith(".")
            if plain and relative not in _OWN:
                yield relative


def _place(uri: str) -> tuple[str, str | None]:
    """The folder that is meant, and the digest of its list where it was given."""
    uri, _, fragment = uri.partition("#")
    folder = uri.rstrip("/").removesuffix(f"/{LIST}")
    if not fragment:
        return folder, None
    found = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
    if found is None:
        raise BadInput(f"{uri}: behind # stands sha256= and 64 digits of 0-9a-f")
    return folder, found[1]


def _opened(folder: str, home: Path, listed: str | None = None) -> Tree:
    """Args: listed: digest of its list, without which a web server's folder cannot be opened."""
    if not is_address(folder):
        path = path_of(folder).absolute()
        return LocalFolder(path, pinned=path.as_uri())
    address = Address.parse(folder, "URI")
    if address.scheme in ("http", "https") and listed:
        address = Address(address.scheme, f"{address.place}/{LIST}", listed)
    return patiently_asked(lambda: SOURCES.load(address.scheme).open(address, Asker(home)))


def _listed(tree: Tree, expected: str | None) -> tuple[dict[str, RemoteFile], str]:
    """Its files with the digests that they must have, and the digest of the list."""
    there = dict(tree.files())
    if LIST not in there and expected is not None and all(f.sha256 for f in there.values()):
        files, digest = there, expected  # of a web server, whose list was read on opening
    else:
        size = there[LIST].size if LIST in there else 0
        if not 0 < size <= _MOST_LIST:
            raise BadInput(
                f"{tree.pinned} has no {LIST}: it is no archive that push brought there, or is not "
                "whole; push it again"
            )
        raw = tree.read(LIST, 0, size)
        digest = hashlib.sha256(raw).hexdigest()
        if expected not in (None, digest):
            raise BadInput(
                f"{tree.pinned}: the {LIST} there has the digest sha256={digest}, asked was "
                f"sha256={expected}; it was changed since"
            )
        sums = parse_sums(raw.decode(errors="replace"), tree.pinned)
        missing = sorted(set(sums) - set(there))
        if missing:
            raise BadInput(f"{tree.pinned} is not whole: it lacks {', '.join(missing[:5])}")
        files = {name: replace(there[name], sha256=sha) for name, sha in sums.items()}
    _must_be_names(files, tree.pinned)
    lacks = [name for name in (_JOURNAL, _PLAN, _JOB) if name not in files]
    if lacks:
        raise BadInput(f"{tree.pinned} is no archive of a job: it lacks {', '.join(lacks)}")
    return files, digest


def _must_be_names(names: Iterable[str], where: str) -> None:
    """Raise unless every name is of a file below, and none is the folder of another."""
    known = set(names)
    for name in known:
        parts = name.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        wrong = any(part.startswith(".") or not part or "\\" in part for part in parts)
        if wrong or not name.isprintable() or name in _OWN or above & known:
            raise UnsafeInput(f"{where}: {name!r:.120} is no file of an archive; nothing was taken")


def _must_be_the_same(archive: JobArchive, tree: Tree) -> None:
    """Raise where another archive lies there: what is there must be how this one began."""
    try:
        there = patiently_asked(tree.files)
    except BadInput:
        return  # nothing is there; who may not look may not write either
    raw = (archive.root / _JOURNAL).read_bytes()
    mine = {_PLAN: (archive.root / _PLAN).read_bytes()}
    if _JOURNAL in there:
        mine[_JOURNAL] = raw[: there[_JOURNAL].size]
    for name, content in mine.items():
        if name in there and _read(tree, name, there[name].size) != content:
            raise BadInput(
                f"{tree.pinned} holds another archive of the id {archive.job_id} ({name} differs); "
                "nothing was sent: choose another place"
            )


def _read(tree: Tree, name: str, size: int) -> bytes:
    """A whole file; nothing where it is larger than such a file is."""
    if size > _MOST_PLAN:
        return b""
    return patiently_asked(lambda: tree.read(name, 0, size))


def _must_be_equal(folder: Path, files: Mapping[str, RemoteFile]) -> None:
    mine = set(_own_files(folder))
    for name, file in files.items():
        if name not in mine or sha256_of(folder / name) != file.sha256:
            raise BadInput(
                f"job {folder.name} is here already, and {name} differs: an archive is never "
                f"written over; pull it below another OPTIKIT_HOME, or remove {folder}"
            )


def _must_be_readable(archive: JobArchive) -> None:
    """Raise unless plan and journal are an ended job's, and no id in them leads out of it."""
    archive.plan()
    archive.records()
    for trial in archive.trials():
        raws = [probe.raw for probe in trial.rate.probes] if trial.rate else []
        _must_be_plain(archive, [trial.id, *(raw for raw in raws if raw is not None)])
    for event in archive.of_kind("probe", "candidate", "scores"):
        found = [event.get(key) for key in ("trial", "raw", "of")]
        candidate = event.get("candidate")
        found.append(candidate.get("id") if isinstance(candidate, dict) else None)
        _must_be_plain(archive, [one for one in found if one is not None])
    state = state_of(archive)["state"]
    if state not in FINAL:
        raise ArchiveError(f"the archive of {archive.job_id} is {state}: its job had not ended")


def _must_be_plain(archive: JobArchive, words: Iterable[object]) -> None:
    for word in words:
        if not (isinstance(word, str) and _ID.fullmatch(word)):
            raise UnsafeInput(
                f"the archive of {archive.job_id} names {word!r:.80}, which is no file of it"
            )


def _sweep(jobs: Path) -> None:
    """Remove what nobody went on with for a week."""
    for left in jobs.glob(".pulling-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: the others wait, and then find what it brought."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
