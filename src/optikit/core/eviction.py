"""Which of the models and datasets that came from elsewhere leave the disk for one that comes.

The least recently taken first. Never goes what a registered model, a bundle, or a job that runs,
waits or could be resumed needs, nor what was taken lately; what goes can be brought again.
"""

from __future__ import annotations

from collections.abc import Set

from optikit.core.retention import GRACE_S, SKEW_S
from optikit.spec.retention import ENDED, Decision, ModelSeen, Removal, Seen

__all__ = ["evict"]


def evict(
    seen: Seen, fetched: Set[str], limit_bytes: int, coming_bytes: int, now_s: float
) -> Decision:
    """What leaves, so that all that was fetched stays within a limit; as far as that can be.

    Args:
        fetched: digests, 64 hex digits, of what came from elsewhere; the rest of the store does not
            count.
        coming_bytes: of what is about to be fetched.
        now_s: seconds since the epoch.

    Returns:
        The decision; ``left_bytes`` is what of the fetched stays, and is there then with what
        comes.
    """
    cached = [one for one in seen.artifacts if one.digest in fetched]
    left = sum(one.bytes for one in cached) + coming_bytes
    needed = _needed(seen)
    begun = [job.began_s - SKEW_S for job in seen.jobs if job.held]
    lately_s = min([now_s - GRACE_S, *begun])
    remove: list[Removal] = []
    for one in sorted(cached, key=lambda one: (one.touched_s, one.digest)):
        if left <= limit_bytes:
            break
        if one.digest in needed or one.linked or one.touched_s >= lately_s:
            continue
        remove.append(_removal(one, now_s))
        left -= one.bytes
    gone = {item.name for item in remove}
    return Decision(
        remove=tuple(remove),
        keep=(),
        freed_bytes=sum(item.bytes for item in remove),
        left_bytes=left,
        stripped={job.id: tuple(sorted(job.names & gone)) for job in seen.jobs if job.names & gone},
    )


def _needed(seen: Seen) -> set[str]:
    going_on = (job for job in seen.jobs if job.held or job.state not in ENDED)
    of_jobs = {digest for job in going_on for digest in job.names | job.ships}
    return of_jobs | seen.registered | seen.bundled


def _removal(one: ModelSeen, now_s: float) -> Removal:
    days = max(0.0, now_s - one.touched_s) / 86_400
    why = f"came from elsewhere, last taken {days:.1f} days ago"
    return Removal(kind="artifact", name=one.digest, bytes=one.bytes, why=why)
