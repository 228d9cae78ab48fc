"""What may go from a disk: a pure decision over what was seen there.

Never goes what a published bundle, a registered model or a job that stays needs, nor a job that
runs, waits in a queue, or has a bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from optikit.errors import BadInput, nearest
from optikit.spec.retention import (
    ENDED,
    REMOVABLE,
    CacheSeen,
    Decision,
    JobSeen,
    Kept,
    ModelSeen,
    Policy,
    Removal,
    Seen,
)

__all__ = ["GRACE_S", "age_s", "decide", "size_bytes", "states_of"]

GRACE_S = 600.0
"""Somebody who took an artifact so lately may not have written down yet that it is needed, and the
driver of a job that was opened so lately may not have begun."""
SKEW_S = 60.0
"""How far the clock of a shared disk may lie behind that of a job's driver."""
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_AGE = re.compile(r"(?P<count>\d+(\.\d+)?)\s*(?P<unit>[smhdw])", re.IGNORECASE)
_SIZE = re.compile(r"(?P<count>\d+(\.\d+)?)\s*(?P<unit>[KMGT]?B)", re.IGNORECASE)


def age_s(text: str) -> float:
    """An age as a person writes it, in seconds.

    Raises:
        BadInput: it is none.

    >>> age_s("30d"), age_s("1.5h")
    (2592000.0, 5400.0)
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is no age; write it as 30d, 2w or 12h")
    return float(match["count"]) * _AGES[match["unit"].lower()]


def size_bytes(text: str) -> int:
    """A size as a person writes it, in bytes.

    Raises:
        BadInput: it is none.

    >>> size_bytes("500GB")
    500000000000
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is no size; write it as 500GB or 1.5TB")
    return int(float(match["count"]) * _SIZES[match["unit"].upper()])


def states_of(words: Iterable[str]) -> frozenset[str] | None:
    """States of jobs that may be removed; None where none are named.

    Raises:
        BadInput: no such state, or one in which a job is never removed.
    """
    named = frozenset(words)
    for word in sorted(named - REMOVABLE):
        if word in ("running", "queued"):
            raise BadInput(f"--state {word}: a job that runs or waits is never removed; cancel it")
        raise BadInput(f"--state {word}: no such state; {nearest(word, REMOVABLE)}")
    return named or None


def decide(seen: Seen, policy: Policy, now_s: float) -> Decision:
    """What goes, what stays, and why.

    Leftovers of killed processes and artifacts that nobody needs go in any case; archives of jobs
    and kept scores by what the policy asks, the oldest first.
    """
    needs = _Needs(seen, policy, now_s)
    remove = [
        Removal(kind="leftover", name=name, bytes=size, why="left by a process that was killed")
        for name, size in seen.leftovers.items()
    ]
    keep: list[Kept] = []
    left = seen.total_bytes - sum(seen.leftovers.values()) - needs.unneeded_bytes()
    for since_s, one in _oldest_first(seen):
        if isinstance(one, JobSeen):
            item = {"kind": "job", "name": one.id, "bytes": one.bytes}
            said, stays = f"{one.state}, ended", _stays(one, policy, now_s) or _unasked(policy)
        else:
            item = {"kind": "baseline", "name": one.key, "bytes": one.bytes}
            said, stays = "last used", _unasked(policy.model_copy(update={"states": None}))
        stays = stays or _young(since_s, policy, now_s)
        if policy.keep_under_bytes is not None and left <= policy.keep_under_bytes:
            stays = stays or "the home is small enough without it"
        if stays is not None:
            keep.append(Kept.parse({**item, "why": stays}))
            continue
        days = max(0.0, now_s - since_s) / 86_400
        remove.append(Removal.parse({**item, "why": f"{said} {days:.1f} days ago"}))
        left -= one.bytes
        if isinstance(one, JobSeen):
            left -= needs.without(one)
    for artifact in seen.artifacts:
        item = {"kind": "artifact", "name": artifact.digest, "bytes": artifact.bytes}
        needed = needs.why(artifact)
        if needed is not None:
            keep.append(Kept.parse({**item, "why": needed}))
        else:
            remove.append(Removal.parse({**item, "why": "nobody needs it"}))
    return Decision(
        remove=tuple(remove),
        keep=tuple(keep),
        freed_bytes=seen.total_bytes - left,
        left_bytes=left,
        stripped=_stripped(seen, remove),
    )


class _Needs:
    """Who needs which artifact, as jobs go one after the other."""

    def __init__(self, seen: Seen, policy: Policy, now_s: float) -> None:
        begun = [job.began_s - SKEW_S for job in seen.jobs if job.held]
        self._lately_s = min([now_s - GRACE_S, *begun])
        self._seen = seen
        self._sizes = {artifact.digest: artifact for artifact in seen.artifacts}
        self._of_jobs: dict[str, set[str]] = {digest: set() for digest in self._sizes}
        for job in seen.jobs:
            ended = job.state in ENDED and not job.held
            for digest in job.ships if policy.shipped_only and ended else job.names | job.ships:
                if digest in self._of_jobs:
                    self._of_jobs[digest].add(job.id)

    def why(self, artifact: ModelSeen) -> str | None:
        """Why an artifact is needed; None: it is not."""
        if artifact.digest in self._seen.registered:
            return "a registered model"
        if artifact.linked or artifact.digest in self._seen.bundled:
            return "of a published bundle"
        if jobs := self._of_jobs[artifact.digest]:
            return f"of job {min(jobs)}" + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")
        if artifact.touched_s >= self._lately_s:
            return "taken lately, perhaps for a job that has not written it down"
        return None

    def unneeded_bytes(self) -> int:
        """Of all that nobody needs now."""
        return sum(one.bytes for one in self._sizes.values() if self.why(one) is None)

    def without(self, job: JobSeen) -> int:
        """Bytes of what nobody needs any more once that job is gone."""
        freed = 0
        for digest in job.names | job.ships:
            jobs = self._of_jobs.get(digest, set())
            if job.id in jobs:
                jobs.remove(job.id)
                freed += self._sizes[digest].bytes if self.why(self._sizes[digest]) is None else 0
        return freed


def _oldest_first(seen: Seen) -> list[tuple[float, JobSeen | CacheSeen]]:
    jobs = [(job.ended_s, job.id, job) for job in seen.jobs]
    caches = [(cache.used_s, cache.key, cache) for cache in seen.baselines]
    rows: list[tuple[float, str, JobSeen | CacheSeen]] = [*jobs, *caches]
    return [(at_s, one) for at_s, _, one in sorted(rows, key=lambda row: row[:2])]


def _stays(job: JobSeen, policy: Policy, now_s: float) -> str | None:
    """Why a job's archive stays whatever its age."""
    if job.held:
        return "it runs, or waits in a queue"
    if job.state == "starting" and job.began_s > now_s - GRACE_S:
        return "its driver may be about to begin"
    if job.published:
        return "its bundle is there, and its certificate's raw requests are here"
    if job.state not in (REMOVABLE & (ENDED if policy.states is None else policy.states)):
        can = "could still be resumed; " if job.state in REMOVABLE - ENDED else ""
        return f"{can}{job.state} is none of the states asked for"
    return None


def _unasked(policy: Policy) -> str | None:
    asked = (policy.older_than_s, policy.keep_under_bytes, policy.states)
    return None if any(part is not None for part in asked) else "no age, size or state was given"


def _young(since_s: float, policy: Policy, now_s: float) -> str | None:
    if policy.older_than_s is None or now_s - since_s >= policy.older_than_s:
        return None
    return "not old enough"


def _stripped(seen: Seen, remove: Iterable[Removal]) -> dict[str, tuple[str, ...]]:
    """Artifacts that go although a job that stays names them."""
    gone = {(item.kind, item.name) for item in remove}
    found = {
        job.id: tuple(sorted(digest for digest in job.names if ("artifact", digest) in gone))
        for job in seen.jobs
        if ("job", job.id) not in gone
    }
    return {name: digests for name, digests in found.items() if digests}
