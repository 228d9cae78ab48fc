"""Rooms of plug-ins: the file name is the plug-in's name.

A room is a package. Each of its modules that is neither ``base`` nor starts with ``_`` is a
plug-in and exports one object under the room's export name. Installed packages add more through
the entry point group of the room's name (``optikit.recipes``, ``optikit.engines``, ...). Listing
imports nothing.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Generic, TypeVar, cast

from optikit.errors import UnknownName, nearest

__all__ = ["Room"]

T = TypeVar("T")


@functools.lru_cache(maxsize=64)
def _points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Entry points of all installed packages; what is installed later, the next process sees.

    Args:
        path: ``sys.path``, which they depend on.
    """
    return entry_points(group=group)


class Room(Generic[T]):
    """The plug-ins of one kind.

    Args:
        package: the package that holds them, also the entry point group (``optikit.recipes``).
        export: the name each module exports (``RECIPE``).
        not_plugins: module names of the package that are no plug-ins.
    """

    def __init__(self, package: str, export: str, not_plugins: tuple[str, ...] = ()) -> None:
        self.package = package
        self.export = export
        self._not_plugins = {"base", *not_plugins}

    @property
    def kind(self) -> str:
        """What a person calls one of them: ``recipe``."""
        return self.export.lower()

    def _own(self) -> list[str]:
        spec = importlib.util.find_spec(self.package)
        paths = list(spec.submodule_search_locations or []) if spec else []
        return [
            module.name
            for module in pkgutil.iter_modules(paths)
            if not module.name.startswith("_") and module.name not in self._not_plugins
        ]

    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in _points(self.package, tuple(sys.path))}

    def names(self) -> list[str]:
        """All known names, sorted; imports none of them."""
        return sorted({*self._own(), *self._installed()})

    def check(self, name: str) -> None:
        """Raise if nobody registered ``name``.

        Raises:
            UnknownName: with the nearest known names.
        """
        if name in self._own():  # looking through what is installed takes tens of milliseconds
            return
        known = self.names()
        if name not in known:
            raise UnknownName(f"unknown {self.kind} {name!r}; {nearest(name, known)}")

    def load(self, name: str) -> T:
        """The plug-in's object.

        Raises:
            UnknownName: with the nearest known names.
        """
        self.check(name)
        if name in self._own():
            module = importlib.import_module(f"{self.package}.{name}")
            return cast(T, getattr(module, self.export))
        return cast(T, self._installed()[name].load())
