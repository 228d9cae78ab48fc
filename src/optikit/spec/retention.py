"""What lies below OptiKIT's home, what a person wants to be rid of, and what goes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = [
    "ENDED",
    "REMOVABLE",
    "CacheSeen",
    "Decision",
    "ItemKind",
    "JobSeen",
    "Kept",
    "ModelSeen",
    "Policy",
    "Removal",
    "Seen",
]

ENDED = frozenset({"done", "negative", "inconclusive"})
"""States that a resume cannot change."""
REMOVABLE = ENDED | {"failed", "cancelled", "rejected", "interrupted", "starting"}
"""States in which a job may be removed; those beside ``ENDED`` only where somebody names them."""
ItemKind = Literal["job", "artifact", "baseline", "leftover"]


class Policy(Spec):
    """What may go."""

    older_than_s: float | None = Field(default=None, ge=0)
    """Only what is that old: a job since its end, a baseline's scores since they were last used."""
    keep_under_bytes: int | None = Field(default=None, ge=0)
    """Only as much, the oldest first, as brings the whole home below."""
    states: frozenset[str] | None = None
    """None: jobs that ended for good, and only where an age or a size is given."""
    shipped_only: bool = False
    """Of jobs that ended for good and stay: no model or dataset but what their bundles hold."""


class JobSeen(Spec):
    """One job's archive."""

    id: str
    state: str
    held: bool
    """A driver lives, or a queue will start one."""
    published: bool
    """Its bundle is there."""
    began_s: float
    """Seconds since the epoch, as all times here."""
    ended_s: float
    """Of its last state; its begin where it has none."""
    last_s: float
    """Of its last event: what is removed must not have moved since."""
    bytes: int
    names: frozenset[str] = frozenset()
    """Digests, 64 hex digits, that its files name."""
    ships: frozenset[str] = frozenset()
    """Those of the model in its bundle."""


class ModelSeen(Spec):
    """A model or dataset of the content-addressed store."""

    digest: str
    """64 hex digits: the folder's name."""
    bytes: int
    """What removing it gives back."""
    touched_s: float
    """When somebody last took it."""
    linked: bool = False
    """A bundle's files are the same files."""


class CacheSeen(Spec):
    """Kept scores of an uncompressed model."""

    key: str
    bytes: int
    used_s: float


class Seen(Spec):
    """A home folder at one moment."""

    jobs: tuple[JobSeen, ...] = ()
    artifacts: tuple[ModelSeen, ...] = ()
    baselines: tuple[CacheSeen, ...] = ()
    leftovers: dict[str, int] = Field(default_factory=dict)
    """What killed processes left: path below the home, to bytes."""
    registered: frozenset[str] = frozenset()
    """Digests of registered models."""
    bundled: frozenset[str] = frozenset()
    """Digests that published bundles name."""
    total_bytes: int = 0


class Removal(Spec):
    """One thing that goes."""

    kind: ItemKind
    name: str
    bytes: int
    why: str


class Kept(Spec):
    """One thing that might have gone and does not."""

    kind: ItemKind
    name: str
    bytes: int
    why: str


class Decision(Spec):
    """What goes and what stays."""

    remove: tuple[Removal, ...]
    keep: tuple[Kept, ...]
    freed_bytes: int
    left_bytes: int
    """Of the whole home, afterwards."""
    stripped: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Jobs that stay, to digests of theirs that go (``shipped_only``)."""
