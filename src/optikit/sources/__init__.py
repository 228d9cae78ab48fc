"""Where models, datasets and bundles lie elsewhere: a plug-in a scheme of an address."""

from optikit.plugins import Room
from optikit.sources.base import Source

SOURCES: Room[Source] = Room("optikit.sources", "SOURCE")
