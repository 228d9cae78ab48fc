"""``webhdfs://HOST:PORT/FOLDER``: HDFS through a NameNode's (or HttpFS's) REST API.

``HADOOP_USER_NAME`` says who asks; with ``OPTIKIT_HDFS_KERBEROS=1`` the ticket of the environment
does, and ``OPTIKIT_HDFS_TLS=1`` speaks HTTPS.
"""

from __future__ import annotations

import os
from typing import Any

from optikit.adapters.fsspec import Folder, opened
from optikit.core.addresses import Address
from optikit.sources._hadoop import namenode
from optikit.sources.base import Asker

__all__ = ["SOURCE"]

_PORT = 9870
"""Of a NameNode since Hadoop 3."""


class WebHdfs:
    """A NameNode."""

    name = "webhdfs"

    def open(self, address: Address, asker: Asker) -> Folder:
        """See base.Source."""
        host, port, path = namenode(address)
        more: dict[str, Any] = {}
        if os.environ.get("OPTIKIT_HDFS_KERBEROS") == "1":
            more["kerberos"] = True
        elif user := os.environ.get("HADOOP_USER_NAME"):
            more["user"] = user
        fs = opened(
            "webhdfs",
            "hdfs",
            host=host,
            port=port or _PORT,
            use_https=os.environ.get("OPTIKIT_HDFS_TLS") == "1",
            skip_instance_cache=True,
            **more,
        )
        return Folder(fs, path, str(address))


SOURCE = WebHdfs()
