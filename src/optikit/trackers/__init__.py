"""Experiment trackers: projections of the archive, one file each."""

from optikit.plugins import Room
from optikit.trackers.base import Tracker

TRACKERS: Room[Tracker] = Room("optikit.trackers", "TRACKER")
