"""Load generators, one file each, and the one loop that searches a rate with them."""

from optikit.loadgen.base import LoadGenerator
from optikit.plugins import Room

GENERATORS: Room[LoadGenerator] = Room("optikit.loadgen", "GENERATOR", ("find_rate",))
