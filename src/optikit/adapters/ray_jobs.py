"""Ray's Jobs API: submit, find, stop a job of a cluster, read and follow its log."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optikit.adapters.http import ClientError
from optikit.adapters.http_get import get_json
from optikit.errors import BadInput, ClusterError

__all__ = ["DuplicateJob", "RayJob", "RayJobs"]

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray's client would obey instead of the address it is given."""
_LOGGERS = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
_REFUSED = (401, 403)


class DuplicateJob(ClusterError):
    """The cluster has a job of this id."""


@dataclass(frozen=True)
class RayJob:
    """What the cluster knows of a job."""

    id: str
    """Submission id."""
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str = ""
    exit_code: int | None = None
    """Of the driver; None where it did not end by itself."""
    started_s: float = 0.0
    """When it was submitted, seconds since the epoch."""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether its status is the last one."""
        return self.status in _ENDED


class RayJobs:
    """The jobs of one cluster.

    Args:
        address: the dashboard's, ``http://HEAD:8265``.

    Raises:
        BadInput: no such address.
        ClusterError: nobody answers there, or not as Ray's Jobs API does, or the token is refused.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _check(self.address)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._said("answer"):
            self._client = _client(self.address)
            # they set their own level when they are imported
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.WARNING)

    @property
    def ray_version(self) -> str | None:
        """The cluster's; None where it did not say."""
        found = getattr(self._client, "_server_ray_version", None)
        return None if found is None else str(found)

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        working_dir: Path,
        metadata: Mapping[str, str],
        variables: Mapping[str, str],
    ) -> None:
        """Start a job: a command in its working directory, which is uploaded.

        Args:
            working_dir: a zip.
            variables: of the environment; everybody who may use the cluster can read them.

        Raises:
            DuplicateJob: the id is taken.
            ClusterError: as for the constructor, or the cluster refused.
        """
        with self._said(f"take job {job_id}"):
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env={"working_dir": str(working_dir), "env_vars": dict(variables)},
                metadata=dict(metadata),
            )

    def find(self, job_id: str) -> RayJob | None:
        """The job, None where the cluster has none of that id."""
        with self._said(f"find job {job_id}"):
            try:
                return _job(self._client.get_job_info(job_id))
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    def all(self) -> list[RayJob]:
        """Every job that was submitted, oldest first."""
        with self._said("list its jobs"):
            found = [_job(one) for one in self._client.list_jobs() if one.submission_id]
        return sorted(found, key=lambda job: (job.started_s, job.id))

    def log(self, job_id: str) -> str:
        """All that the job printed so far."""
        with self._said(f"give the log of {job_id}"):
            return str(self._client.get_job_logs(job_id))

    def tail(self, job_id: str, patience_s: float = 1.0) -> Iterator[str]:
        """The job's log from its beginning on, piece by piece, until the job has ended.

        An empty piece where nothing came for ``patience_s``.

        Raises:
            ClusterError: the connection broke.
        """
        with self._said(f"give the log of {job_id}"), asyncio.Runner() as runner:
            pieces = self._client.tail_job_logs(job_id)
            waiting: _Waiting = None
            try:
                while True:
                    waiting, piece = runner.run(_next(pieces, waiting, patience_s))
                    if piece is None:
                        return
                    yield piece
            finally:
                runner.run(_close(pieces, waiting))

    def stop(self, job_id: str) -> bool:
        """Ask the job's driver to end (SIGTERM); False where it has ended."""
        with self._said(f"stop job {job_id}"):
            return bool(self._client.stop_job(job_id))

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """What Ray's client raises, in our words."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                f"the cluster at {self.address} refused the token ({_first_line(error)}); give "
                "its own in RAY_AUTH_TOKEN, or its file in RAY_AUTH_TOKEN_PATH"
            ) from None
        except (RuntimeError, OSError, ValueError, KeyError, ClientError) as error:
            if "already exists" in str(error):
                raise DuplicateJob(f"the cluster at {self.address} has this job") from None
            raise ClusterError(
                f"the cluster at {self.address} did not {what}: {_first_line(error)}"
            ) from error


def _check(address: str) -> None:
    scheme, _, rest = address.partition("://")
    if scheme not in ("http", "https") or not rest:
        raise BadInput(
            f"{address!r} is no address of a Ray cluster's dashboard; it looks like "
            "http://HEAD:8265 (ports 6379 and 10001 speak other languages)"
        )
    if "@" in rest.partition("/")[0]:
        raise BadInput("the address holds a user or password; a token goes in RAY_AUTH_TOKEN")
    answer = get_json(f"{address}/api/version")
    if answer.status is None:
        raise ClusterError(
            f"nobody answers at {address}: {answer.text}. Is the cluster up, and its dashboard "
            "reachable from here (`ray start --head` prints its address)?"
        )
    body = answer.body if isinstance(answer.body, dict) else {}
    if answer.status not in _REFUSED and "ray_version" not in body:
        raise ClusterError(
            f"{address} answers, but not as Ray's Jobs API (GET /api/version: HTTP "
            f"{answer.status} {answer.text!r:.80}): is it the dashboard's address, and does the "
            "head node have ray[default]?"
        )


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    hidden = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
    try:
        return JobSubmissionClient(address)
    finally:
        os.environ.update(hidden)


def _job(details: Any) -> RayJob:
    return RayJob(
        id=details.submission_id,
        status=str(details.status),
        message=details.message or "",
        exit_code=details.driver_exit_code,
        started_s=(details.start_time or 0) / 1000,
        metadata=details.metadata or {},
    )


_Waiting = asyncio.Task[str | None] | None


async def _next(
    pieces: AsyncIterator[str], waiting: _Waiting, patience_s: float
) -> tuple[_Waiting, str | None]:
    """The wait for a piece that is not there yet, and the piece; None: there is no more."""
    task = waiting or asyncio.ensure_future(_piece(pieces))
    done, _ = await asyncio.wait({task}, timeout=patience_s)
    return (None, task.result()) if done else (task, "")


async def _piece(pieces: AsyncIterator[str]) -> str | None:
    async for piece in pieces:
        return piece
    return None


async def _close(pieces: Any, waiting: _Waiting) -> None:
    if waiting is not None:
        waiting.cancel()
        await asyncio.wait({waiting})
    await pieces.aclose()


def _first_line(error: BaseException) -> str:
    """Without the traceback of the server, which Ray puts into its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if len(lines) > 1 and "Traceback" in str(error) else (lines or [""])[0]
    return f"{type(error).__name__}: {last}"[:400]
