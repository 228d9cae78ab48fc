"""The least that a stage writes, known before it begins.

Lower bounds throughout: a stage that would find room must never be refused. Files that get a second
name cost nothing: a candidate that moves into the store, a model that a bundle shares with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optikit.core.candidates import PlannedCandidate
from optikit.core.fit import weight_bytes
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.recipe import RecipeFacts

__all__ = ["Need", "candidate_bytes", "compress_needs", "publish_needs"]

SURE = 0.95
"""Of a checkpoint's size by its shape: rows are wider than ``NARROW_ROW``, and their scales cost
less than is counted."""


@dataclass(frozen=True)
class Need:
    """What a stage writes into one folder of the home."""

    place: str
    """``jobs``, ``artifacts`` or ``bundles``."""
    bytes: int
    what: str


def candidate_bytes(shape: ModelShape, recipe: RecipeFacts, fetched_bytes: int) -> int:
    """The least that a compressed checkpoint takes.

    Where the fetched one is smaller than its shape at 16 bit (an architecture with fewer weights,
    or one that is quantized already), the compressed one is taken to be smaller by the same factor.

    Args:
        fetched_bytes: of the uncompressed model's folder.
    """
    smaller = min(1.0, fetched_bytes / weight_bytes(shape, None))
    return int(SURE * smaller * weight_bytes(shape, recipe))


def compress_needs(
    plan: Plan,
    candidates: Sequence[PlannedCandidate],
    fetched_bytes: int,
    stored: Mapping[str, int],
    one_disk: bool,
) -> tuple[Need, ...]:
    """What making these candidates writes.

    One at a time is written in the job's folder; all of them stay in the store. One whose content
    an earlier job has stored costs nothing there: that may be so of as many as there are artifacts
    of such a size.

    Args:
        candidates: those that are still to be made.
        fetched_bytes: of the uncompressed model.
        stored: bytes by digest of what is in the store, the uncompressed model left out.
        one_disk: the job's folder and the store are on one file system.
    """
    sizes = sorted(
        candidate_bytes(plan.shape, one.option.recipe, fetched_bytes)
        for one in candidates
        if one.option.recipe is not None  # a flow that compresses has one
    )
    if not sizes:
        return ()
    perhaps_there = sum(1 for size in stored.values() if size >= sizes[0])
    stay = sum(sizes[: max(0, len(sizes) - perhaps_there)])
    what = f"{len(sizes)} candidate(s) of {plan.job.model.name}"
    if one_disk:
        return (Need("artifacts", max(stay, sizes[-1]), what),)
    return Need("jobs", sizes[-1], f"one of {what}"), Need("artifacts", stay, what)


def publish_needs(model_bytes: int, one_disk: bool) -> tuple[Need, ...]:
    """What a bundle writes: on the store's file system its model is the same files.

    Args:
        model_bytes: of the model that ships.
        one_disk: bundles and the store are on one file system.
    """
    return () if one_disk else (Need("bundles", model_bytes, "a copy of the model"),)
