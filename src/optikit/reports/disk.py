"""What lies on the disk below a home: jobs, artifacts, kept scores, leftovers, and who needs what.

Only looked at: nothing is written, and what vanishes meanwhile was not there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from optikit.adapters.disk import TRASH, usage
from optikit.archive import JobArchive, is_id
from optikit.errors import OptikitError
from optikit.reports.summary import state_of
from optikit.spec.retention import CacheSeen, JobSeen, ModelSeen, Seen

__all__ = ["changed_s", "survey"]

STALE_S = 86_400.0
"""A folder that somebody began to fill so long ago is filled by nobody any more."""
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NAMING = ("journal.jsonl", "plan.json", "job.json")
"""Files of a job that name artifacts; every digest in them counts, damaged lines too."""
_OF_BUNDLE = ("certificate.json", "serving.yaml", "simulated.json")
_HALF = ("artifacts/.taking-*", "artifacts/.hub-*", "baselines/.*.*")
"""Folders that somebody fills; they get their name when they are whole."""
_TRASH = ("jobs", "artifacts", "baselines")
_WAITING = ("starting", "running", "interrupted")
"""States in which a queue still means to run a job."""


def survey(home: Path) -> Seen:
    """All that a decision needs to know; reads every job's journal."""
    home = home.resolve()
    in_bundles = usage(home / "bundles").files
    digests = {path.name for path in _folders(home / "artifacts") if _is_digest(path.name)}
    bundles = {path.name.removeprefix(".").partition(".")[0] for path in _folders(home / "bundles")}
    jobs = [_job(JobArchive(home, path.name), digests, bundles) for path in _job_folders(home)]
    held = {job.id for job in jobs if job.held}
    return Seen(
        jobs=tuple(jobs),
        artifacts=tuple(_artifact(home / "artifacts" / d, in_bundles) for d in sorted(digests)),
        baselines=tuple(_baselines(home)),
        leftovers={str(path.relative_to(home)): usage(path).freed for path in _left(home, held)},
        registered=_named(home.glob("models/*/*.json")),
        bundled=_named(path for name in _OF_BUNDLE for path in home.glob(f"bundles/*/{name}")),
        total_bytes=usage(home).bytes,
    )


def _folders(parent: Path) -> list[Path]:
    """Folders in a folder, by name; none where it is missing."""
    found = parent.iterdir() if parent.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _is_digest(name: str) -> bool:
    return _DIGEST.fullmatch(name.encode(errors="replace")) is not None


def _named(files: Iterable[Path]) -> frozenset[str]:
    """Every digest in the files; one that cannot be read, or is not there, names none."""
    found: set[str] = set()
    for file in files:
        try:
            with file.open("rb") as lines:
                for line in lines:
                    found.update(digest.decode() for digest in _DIGEST.findall(line))
        except OSError:
            continue
    return frozenset(found)


def _job_folders(home: Path) -> list[Path]:
    return [p for p in _folders(home / "jobs") if is_id(p.name) and (p / "plan.json").exists()]


def _job(archive: JobArchive, digests: set[str], bundles: set[str]) -> JobSeen:
    """Args: digests: of artifacts; bundles: ids with a bundle, or one that is being replaced."""
    bundle = archive.home / "bundles" / archive.job_id
    times = [(event["kind"], float(event["t"])) for event in archive.events()]
    began = times[0][1] if times else archive.created()
    try:
        state = str(state_of(archive)["state"])
        held = archive.driver_alive() or (state in _WAITING and archive.ticket() is not None)
    except (OptikitError, LookupError, OSError):
        state, held = "damaged", True  # who cannot say that nobody works on it leaves it alone
    freed = usage(archive.root).freed - usage(archive.root / "candidates").freed
    return JobSeen(
        id=archive.job_id,
        state=state,
        held=held,
        published=archive.job_id in bundles,
        began_s=began,
        ended_s=max((at for kind, at in times if kind == "state"), default=began),
        last_s=times[-1][1] if times else began,
        bytes=max(0, freed),
        names=_named(archive.root / name for name in _NAMING) & digests,
        ships=_named(bundle / name for name in _OF_BUNDLE) & digests,
    )


def _artifact(folder: Path, in_bundles: frozenset[tuple[int, int]]) -> ModelSeen:
    found = usage(folder)
    return ModelSeen(
        digest=folder.name,
        bytes=found.freed,
        touched_s=changed_s(folder),
        linked=not found.files.isdisjoint(in_bundles),
    )


def _baselines(home: Path) -> Iterator[CacheSeen]:
    for folder in _folders(home / "baselines"):
        if _is_digest(folder.name):
            freed = usage(folder).freed
            yield CacheSeen(key=folder.name, bytes=freed, used_s=changed_s(folder))


def changed_s(path: Path) -> float:
    """When a file or folder changed last; now, where that cannot be said."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _left(home: Path, held: set[str]) -> Iterator[Path]:
    """What killed processes left, and nobody goes on with.

    Args:
        held: ids of jobs that somebody works on.
    """
    stale = time.time() - STALE_S
    for name in _TRASH:
        yield from _folders(home / name / TRASH)
    for pattern in _HALF:
        yield from sorted(p for p in home.glob(pattern) if changed_s(p) < stale)
    for folder in _folders(home / "jobs"):
        if not is_id(folder.name) or folder.name in held:
            continue
        if not (folder / "plan.json").exists():
            if changed_s(folder) < stale:
                yield folder  # it was never opened to the end
        elif (folder / "candidates").is_dir() and any((folder / "candidates").iterdir()):
            yield folder / "candidates"
    for folder in _folders(home / "bundles"):
        job, _, rest = folder.name.removeprefix(".").partition(".")
        if not folder.name.startswith(".") or job in held or changed_s(folder) >= stale:
            continue
        if (folder.parent / job).is_dir() or not rest.endswith(".old"):
            yield folder  # else it is the bundle itself, whose replacement never came
