"""What the queue of a cluster knows: teams, nodes, and what a stage asks for."""

from __future__ import annotations

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["Need", "Node", "Team"]


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
