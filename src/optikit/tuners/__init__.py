"""Samplers of the tune stage, ask and tell, one file a sampler."""

from optikit.plugins import Room
from optikit.tuners.base import Tuner

TUNERS: Room[Tuner] = Room("optikit.tuners", "TUNER")
