"""Serving engines, one file an engine. An engine starts servers; it measures nothing."""

from optikit.engines.base import Engine
from optikit.plugins import Room

ENGINES: Room[Engine] = Room("optikit.engines", "ENGINE")
