"""``hdfs://HOST:PORT/FOLDER``: HDFS through libhdfs, which needs Java and Hadoop's own client.

Where they are not (``HADOOP_HOME``, ``JAVA_HOME``, ``CLASSPATH``), ``webhdfs://`` needs neither.
"""

from __future__ import annotations

from optikit.adapters.fsspec import Folder, opened
from optikit.core.addresses import Address
from optikit.errors import OptikitError
from optikit.sources._hadoop import namenode
from optikit.sources.base import Asker

__all__ = ["SOURCE"]


class Hdfs:
    """A NameNode; HOST may be a name service of Hadoop's configuration, or ``default``."""

    name = "hdfs"

    def open(self, address: Address, asker: Asker) -> Folder:
        """See base.Source."""
        host, port, path = namenode(address)
        try:
            fs = opened("hdfs", "hdfs", host=host, port=port or 0, skip_instance_cache=True)
        except OSError as error:
            raise OptikitError(
                f"{address}: libhdfs cannot be used here ({str(error)[:200]}); set HADOOP_HOME, "
                "JAVA_HOME and CLASSPATH, or use webhdfs://"
            ) from error
        return Folder(fs, path, str(address))


SOURCE = Hdfs()
