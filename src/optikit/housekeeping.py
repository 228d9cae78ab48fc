"""Frees the disk below a home: says what may go, and takes it away.

Safe beside jobs that run, start or take artifacts meanwhile: an archive goes under its driver's
lock, an artifact under the store's, and only where nothing happened to it since it was looked at.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optikit.adapters.disk import TRASH, delete, put_away
from optikit.archive import JobArchive
from optikit.core.eviction import evict
from optikit.core.retention import decide, size_bytes
from optikit.errors import ArchiveError, BadInput, OptikitError
from optikit.reports.disk import changed_s, survey
from optikit.spec.retention import Decision, Policy, Removal, Seen
from optikit.stores.file import FileModelStore
from optikit.stores.remote import RemoteStore

__all__ = ["CACHE_MAX", "Collected", "bound_cache", "collect", "look"]

CACHE_MAX = "OPTIKIT_CACHE_MAX"
"""How much of what came from elsewhere may lie on the disk, as 500GB; not set: no bound."""

_ORDER = ("leftover", "job", "baseline", "artifact")
"""Artifacts last: who is killed before leaves some that nobody needs, which the next one finds."""


@dataclass(frozen=True)
class Collected:
    """What went and what did not."""

    removed: tuple[Removal, ...]
    spared: tuple[tuple[Removal, str], ...]
    """What was to go and moved meanwhile, with what happened."""
    failed: tuple[tuple[Removal, str], ...]
    """What could not be removed, with the reason."""

    @property
    def freed_bytes(self) -> int:
        """What the removed things held."""
        return sum(item.bytes for item in self.removed)


class _Spared(Exception):
    """Something happened to it since it was looked at; its argument says what."""


def look(home: Path, policy: Policy, now_s: float | None = None) -> tuple[Seen, Decision]:
    """What may go; nothing is touched.

    Args:
        now_s: None: the clock's.
    """
    seen = survey(home)
    return seen, decide(seen, policy, time.time() if now_s is None else now_s)


def collect(home: Path, seen: Seen, decision: Decision) -> Collected:
    """Take away what was decided.

    Raises:
        ArchiveError: another one is at it, or the home cannot be written.
    """
    home = home.resolve()
    removed: list[Removal] = []
    spared: list[tuple[Removal, str]] = []
    failed: list[tuple[Removal, str]] = []
    with _alone(home):
        for name, digests in decision.stripped.items():  # written down before they are missing
            JobArchive(home, name).event("collected", artifacts=list(digests))
        for item in sorted(decision.remove, key=lambda item: _ORDER.index(item.kind)):
            try:
                _WAYS[item.kind](home, seen, item.name)
            except _Spared as why:
                spared.append((item, str(why)))
            except (OptikitError, OSError) as error:
                failed.append((item, str(error)))
            else:
                removed.append(item)
    return Collected(tuple(removed), tuple(spared), tuple(failed))


def bound_cache(archive: JobArchive, coming_bytes: int) -> None:
    """Take away what came from elsewhere and nobody needs, where more comes than may stay.

    A job goes on where that cannot be done; its journal says so.

    Raises:
        BadInput: the bound is no size.
    """
    told = os.environ.get(CACHE_MAX)
    if not told:
        return
    limit, home, now_s = _limit(told), archive.home, time.time()
    seen = survey(home)
    decision = evict(seen, RemoteStore(home).fetched(), limit, coming_bytes, now_s)
    try:
        done = collect(home, seen, decision) if decision.remove else Collected((), (), ())
    except ArchiveError as error:
        archive.event("note", text=f"the cache was not looked at: {error}")
        return
    left = decision.left_bytes + decision.freed_bytes - done.freed_bytes
    if done.removed:
        text = f"{len(done.removed)} artifacts of other jobs left the cache ({CACHE_MAX}={told})"
        archive.event("note", text=text)
    if left > limit:
        text = f"the cache grows to {left / 1e9:.1f} GB, over {CACHE_MAX}={told}: jobs, bundles or "
        archive.event("note", text=f"{text}registered models need what is in it")


def _limit(told: str) -> int:
    try:
        return size_bytes(told)
    except BadInput as error:
        raise BadInput(f"{CACHE_MAX}: {error}") from None


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    try:
        handle = os.open(home / ".gc.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ArchiveError(f"nothing can be removed under {home}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(
                f"another `optikit archive gc` works under {home}; wait until it has ended"
            ) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _without_driver(archive: JobArchive) -> Iterator[None]:
    """No driver of the job can begin."""
    if not archive.root.is_dir():
        raise _Spared("it is gone already")
    try:
        lock = archive.lock_driver(patience_s=0.0)
    except ArchiveError:
        raise _Spared("its driver began meanwhile") from None
    try:
        yield
    finally:
        os.close(lock)


def _job(home: Path, seen: Seen, name: str) -> None:
    archive = JobArchive(home, name)
    (known,) = (job for job in seen.jobs if job.id == name)
    with _without_driver(archive):
        last_s = max((float(event["t"]) for event in archive.events()), default=known.began_s)
        if last_s > known.last_s or (home / "bundles" / name).exists():
            raise _Spared("its journal went on meanwhile")
        away = put_away(archive.root)
    delete(away)


def _artifact(home: Path, seen: Seen, name: str) -> None:
    (known,) = (artifact for artifact in seen.artifacts if artifact.digest == name)
    if not FileModelStore(home).discard(name, known.touched_s):
        raise _Spared("somebody took it meanwhile")


def _baseline(home: Path, seen: Seen, name: str) -> None:
    (known,) = (cache for cache in seen.baselines if cache.key == name)
    folder = home / "baselines" / name
    if changed_s(folder) != known.used_s:
        raise _Spared("somebody used it meanwhile")
    delete(put_away(folder))


def _leftover(home: Path, seen: Seen, name: str) -> None:
    path = home / name
    if path.parent.name == TRASH:
        delete(path)
    elif path.name == "candidates":  # of a job that could go on
        with _without_driver(JobArchive(home, path.parent.name)):
            away = put_away(path)
        delete(away)
    elif path.exists():
        delete(put_away(path))


_WAYS: dict[str, Callable[[Path, Seen, str], None]] = {
    "job": _job,
    "artifact": _artifact,
    "baseline": _baseline,
    "leftover": _leftover,
}
