"""What the queue of a cluster knows: its site, teams, nodes, jobs, and what a stage asks for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["Need", "Node", "QueuedJob", "Site", "Team", "Ticket"]


class Team(Spec):
    """Who shares the cluster."""

    name: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    """Of the team's share of each kind of device, against the other teams' weights."""
    quota: dict[str, int] = Field(default_factory=dict)
    """Most devices that the team may hold at a time, by kind; a kind not named has no bound."""


class Node(Spec):
    """One machine of the cluster."""

    name: str = Field(min_length=1)
    kind: str
    """Accelerator type, such as ``H100``."""
    devices: int = Field(gt=0)


class Site(Spec):
    """What whoever runs the service allows, and what its cluster has."""

    nodes: tuple[Node, ...] = ()
    """None named: what Ray or this machine has."""
    roots: tuple[str, ...] = ()
    """Folders below which models, datasets and traces may lie, besides a team's own home."""
    addresses: tuple[str, ...] = ()
    """Addresses below which jobs may read elsewhere, with the service's credentials:
    ``s3://BUCKET/FOLDER/``, ``hf://ORG/``, or a scheme alone (``hf://``). None named: none."""
    trust_remote_code: bool = False
    """Whether a job may ask for a model's own code to be run."""
    metrics: bool = False
    """Whether ``GET /metrics`` answers everybody; else this machine alone."""
    log_format: Literal["text", "json"] | None = None
    """Of the service and of the drivers that it starts; None: as OPTIKIT_LOG_FORMAT says, else
    text."""


class QueuedJob(Spec):
    """One job as the queue knows it; what it does is in its archive."""

    id: str
    team: str
    home: str
    """The team's home folder: the job's archive is below it."""
    priority: int = Field(default=0, ge=-10, le=10)
    submitted_s: float
    """Seconds since the epoch."""
    state: Literal["queued", "started", "ended"] = "queued"
    """Whether its driver was started, and whether it has ended for good."""


class Ticket(Spec):
    """What a job's driver knows of the queue that it stands in."""

    team: str
    since_s: float
    """When the job was submitted, in seconds since the epoch."""
    priority: int = Field(default=0, ge=-10, le=10)


class Need(Spec):
    """What one stage of a job holds from its start to its end: all of it, on one node."""

    key: str = Field(min_length=1)
    team: str
    kind: str
    devices: int = Field(gt=0)
    since_s: float
    """When its job was submitted: a job's later stages keep its place in the line."""
    priority: int = Field(default=0, ge=-10, le=10)
    """Within the team; one more overtakes what is up to ``FairShare.ageing_s`` older."""
    expected_s: float | None = Field(default=None, gt=0)
    """How long the stage is thought to take; None: as long as the stages before it, on average."""
    bound_s: float | None = Field(default=None, gt=0)
    """The stage surely ends after so many seconds; None: nobody knows."""
