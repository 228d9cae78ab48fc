"""``HOST:PORT/FOLDER`` of a NameNode."""

from __future__ import annotations

from optikit.core.addresses import Address
from optikit.errors import SpecError

__all__ = ["namenode"]


def namenode(address: Address) -> tuple[str, int | None, str]:
    """Host, port (None: not said) and absolute path.

    Raises:
        SpecError: it is not of that form.
    """
    where, _, path = address.place.partition("/")
    host, _, port = where.partition(":")
    if not host or not path or (port and not port.isdecimal()):
        raise SpecError(f"{address}: asked no {address.scheme}://HOST:PORT/FOLDER")
    return host, int(port) if port else None, f"/{path}"
