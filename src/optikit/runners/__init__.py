"""What runs the trials of a search side by side on the stage's devices."""

from optikit.plugins import Room
from optikit.runners.base import Runner

RUNNERS: Room[Runner] = Room("optikit.runners", "RUNNER")
