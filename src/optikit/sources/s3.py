"""``s3://BUCKET/FOLDER`` on any endpoint that speaks S3.

Endpoint, region and credentials are those of the AWS tools: ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, a profile, or the machine's role.
"""

from __future__ import annotations

from typing import Any

from optikit.adapters.fsspec import Folder, opened
from optikit.core.addresses import Address
from optikit.sources.base import Asker

__all__ = ["SOURCE"]

_CONNECT_S, _READ_S = 5, 30
_PART = 16 << 20
_AT_ONCE = 4
"""Parts of an upload in memory at a time."""


class S3:
    """Buckets."""

    name = "s3"

    def open(self, address: Address, asker: Asker) -> Folder:
        """See base.Source."""
        fs = opened(
            "s3",
            "s3",
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": _CONNECT_S,
                "read_timeout": _READ_S,
                "retries": {"mode": "standard", "max_attempts": 2},
            },
        )
        fs.retries = 2  # an outage is waited out by whoever transfers, who can say so
        return Folder(fs, address.place, str(address), renames=False, written=_written)


def _written(sha256: str) -> dict[str, Any]:
    return {"chunksize": _PART, "max_concurrency": _AT_ONCE, "Metadata": {"sha256": sha256}}


SOURCE = S3()
