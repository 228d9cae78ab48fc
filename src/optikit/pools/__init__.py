"""Where a stage's work runs: actors of its own, destroyed before the next stage."""

from optikit.plugins import Room
from optikit.pools.base import Pools

POOLS: Room[Pools] = Room("optikit.pools", "POOLS")
