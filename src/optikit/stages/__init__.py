"""The six stages, one file each."""

from optikit.plugins import Room
from optikit.stages.base import Stage

STAGES: Room[Stage] = Room("optikit.stages", "STAGE")
