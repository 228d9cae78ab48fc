"""``s3://BUCKET/FOLDER`` on any endpoint that speaks S3.

Endpoint, region and credentials are those of the AWS tools: ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, a profile, or the machine's role.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optikit.adapters.fsspec import Folder, opened
from optikit.core.addresses import Address
from optikit.sources.base import Asker

__all__ = ["SOURCE"]

_LIMITS: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"mode": "standard", "max_attempts": 2},
}
"""An outage is waited out by whoever transfers, who can say so."""


class S3:
    """Buckets."""

    name = "s3"

    def open(self, address: Address, asker: Asker) -> Folder:
        """See base.Source."""
        fs = opened("s3", "s3", skip_instance_cache=True, config_kwargs=_LIMITS)
        fs.retries = 2
        return Folder(fs, address.place, str(address), put=_Sender().put)


class _Sender:
    """Writes by boto3's own transfer: its threads do not wait for one another, as s3fs' do."""

    def __init__(self) -> None:
        self._client: Any = None

    def put(self, source: Path, target: str) -> None:
        """Bring a file to ``BUCKET/KEY``; what the server refuses is raised as s3fs does."""
        from boto3.exceptions import S3UploadFailedError
        from s3fs.errors import translate_boto_error

        bucket, _, key = target.partition("/")
        try:
            self._opened().upload_file(str(source), bucket, key)
        except S3UploadFailedError as error:  # around what the server said
            raise translate_boto_error(error.__context__) from error

    def _opened(self) -> Any:
        """One client for all files: to make one takes as long as a small request."""
        if self._client is None:
            import boto3
            from botocore.config import Config

            self._client = boto3.session.Session().client("s3", config=Config(**_LIMITS))
        return self._client


SOURCE = S3()
