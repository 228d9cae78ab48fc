"""A job, or the server of a bundle, as a file that another system runs."""

from optikit.exports.base import Export
from optikit.plugins import Room

EXPORTS: Room[Export] = Room("optikit.exports", "EXPORT")


def export_named(name: str) -> Export:
    """The export of that name, which may be written with hyphens.

    Raises:
        UnknownName: with the nearest known names.
    """
    return EXPORTS.load(name.replace("-", "_"))
