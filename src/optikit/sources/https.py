"""``https://HOST/FILE#sha256=HEX``: one file (a dataset), or a list that names more.

A web server lists no folders, so a folder is its file ``SHA256SUMS`` (as ``sha256sum`` writes it):
``https://HOST/FOLDER/SHA256SUMS#sha256=HEX``. The digest is asked for: who answers is not known.
"""

from __future__ import annotations

from optikit.adapters.web import WebFolder
from optikit.core.addresses import Address
from optikit.errors import SpecError
from optikit.sources.base import Asker

__all__ = ["SOURCE", "Web"]


class Web:
    """A web server; no proxy and no redirect to somewhere else is followed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, address: Address, asker: Asker) -> WebFolder:
        """See base.Source."""
        if address.sha256 is None:
            raise SpecError(
                f"{address}: a file of a web server is taken by its content; append "
                "#sha256=HEX (`sha256sum FILE` prints it)"
            )
        return WebFolder(f"{address.scheme}://{address.place}", address.sha256)


SOURCE = Web("https")
