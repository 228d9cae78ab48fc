"""A job as a file that another system runs."""

from optikit.exports.base import Export
from optikit.plugins import Room

EXPORTS: Room[Export] = Room("optikit.exports", "EXPORT")
