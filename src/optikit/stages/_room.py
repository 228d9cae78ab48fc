"""Whether the disk has room for what a stage surely writes; asked before anything is written."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from optikit.adapters.disk import free_bytes, same_disk
from optikit.core.addresses import is_address
from optikit.core.candidates import PlannedCandidate, planned_candidates
from optikit.core.diskneed import Need, candidate_bytes, compress_needs, publish_needs
from optikit.errors import DiskFull
from optikit.journal import patiently
from optikit.spec.candidate import ArtifactRef
from optikit.spec.plan import Plan
from optikit.stages.base import Journal, Tools
from optikit.stores.base import ModelStore, path_of

__all__ = [
    "lacking",
    "needs_of_job",
    "room_for_bundle",
    "room_for_candidates",
    "room_for_fetch",
]

_PLACES = ("jobs", "artifacts", "bundles")


def room_for_fetch(tools: Tools, needs: Sequence[Need]) -> None:
    """Raises DiskFull where what is fetched finds no room."""
    _must_have_room(tools.journal, "fetch", needs)


def room_for_candidates(
    tools: Tools, plan: Plan, missing: Sequence[PlannedCandidate], fetched: ArtifactRef
) -> None:
    """Raises DiskFull where the candidates that are still to be made find no room."""
    home = tools.journal.home
    stored = dict(tools.models.stored())
    stored.pop(fetched.digest, None)
    one_disk = same_disk(home / "jobs", home / "artifacts")
    needs = compress_needs(plan, missing, fetched.size_bytes, stored, one_disk)
    _must_have_room(tools.journal, "compress", needs)


def room_for_bundle(tools: Tools, model: ArtifactRef) -> None:
    """Raises DiskFull where a bundle that has to copy its model finds no room."""
    one_disk = same_disk(tools.journal.home / "bundles", tools.journal.home / "artifacts")
    _must_have_room(tools.journal, "publish", publish_needs(model.size_bytes, one_disk))


def needs_of_job(home: Path, models: ModelStore, plan: Plan) -> tuple[Need, ...]:
    """The least that a whole job will write, for who is about to submit it; on paper nothing.

    Raises:
        UnknownName: the model is not registered.
    """
    if plan.simulated or plan.elsewhere:
        return ()
    asked = plan.job.model
    if asked.uri is None:
        registered = models.find(asked.name, asked.version)
        folder, digest, size = Path(registered.path), registered.digest, registered.size_bytes
    elif is_address(asked.uri):
        return ()  # nobody knows yet; its transfer asks for room before it begins
    else:
        folder, digest = path_of(asked.uri), ""
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    missing = models.missing_bytes(folder, permit=plan.permit)
    needs = [Need("artifacts", missing, f"the model {folder}")]
    if plan.flow.compresses and size:
        stored = {name: count for name, count in models.stored().items() if name != digest}
        one_disk = same_disk(home / "jobs", home / "artifacts")
        needs += compress_needs(plan, planned_candidates(plan), size, stored, one_disk)
    if "publish" in plan.flow.stages and size:
        ships = min(
            candidate_bytes(plan.shape, option.recipe, size) if option.recipe else size
            for option in plan.options
        )
        needs += publish_needs(ships, same_disk(home / "bundles", home / "artifacts"))
    return tuple(needs)


def lacking(home: Path, needs: Sequence[Need]) -> str | None:
    """What was asked and found where a file system has less free than is needed; None: enough.

    Needs of folders that share a file system add up.
    """
    needs = [need for need in needs if need.bytes]
    for place in _PLACES if needs else ():
        together = [need for need in needs if same_disk(home / need.place, home / place)]
        asked = sum(need.bytes for need in together)
        free = free_bytes(home / place)
        if free < asked:
            what = " and ".join(need.what for need in together)
            return (
                f"asked at least {_size(asked)} under {home / together[0].place} ({what}), found "
                f"{_size(free)} free"
            )
    return None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _must_have_room(journal: Journal, stage: str, needs: Sequence[Need]) -> None:
    """As with every write, a disk that is full for a while is waited for.

    Raises:
        DiskFull: it has less free than the stage surely writes.
    """
    lack = lacking(journal.home, needs)
    if lack is None:
        return
    journal.event("note", text=f"{stage} waits for room on the disk: {lack}")

    def check() -> None:
        found = lacking(journal.home, needs)
        if found is not None:
            raise OSError(errno.ENOSPC, found)

    try:
        patiently(check, f"begin {stage}")
    except DiskFull:
        raise DiskFull(
            f"{stage} was not begun: {lack}. `optikit archive gc` shows what may go; make room, "
            f"then `optikit resume {journal.job_id}` goes on; or set OPTIKIT_HOME to a larger disk "
            "and submit again"
        ) from None
