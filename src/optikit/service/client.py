"""The other end: a service as the command line and programs see it, and a job that runs there."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from optikit import errors
from optikit.adapters.http_get import Answer, get_json, post_json
from optikit.archive import is_id
from optikit.errors import BadInput, OptikitError, UnknownName, nearest
from optikit.jobs import JobResult, OnEvent, raise_failure
from optikit.reports.notebook import job_html
from optikit.reports.summary import FINAL
from optikit.reports.trials import Trials
from optikit.spec.plan import Plan
from optikit.spec.record import Trial

__all__ = ["ServedJob", "Server", "ServerDown", "service_url"]

_TIMEOUT_S = 60.0
"""Of one answer; a submission may read a model's folder."""
_POLL_S = 1.0
_PATIENCE_S = 600.0
"""While a job is followed: a service that is started again, or a laptop that was closed."""
_TRIES = 4
_CANCEL_S = 120.0


class ServerDown(OptikitError):
    """Nobody answers there, or not now; the same may be asked again."""


def service_url(text: str) -> str:
    """The address of a service, without a slash at its end.

    Raises:
        BadInput: no such address, or one with a name or password in it.

    >>> service_url("https://optikit.example:8470/")
    'https://optikit.example:8470'
    """
    try:
        parts = urlsplit(text.strip())
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise BadInput(f"{text!r:.200} is no address of a service; write it as https://HOST:PORT")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadInput("a service's address has no user, password, query or fragment in it")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Server:
    """One service.

    Raises:
        BadInput: a token, for an address where it would cross the network in the clear.
    """

    url: str
    """As ``service_url`` gives it."""
    token: str | None = field(default=None, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if self.token and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise BadInput(
                f"the token would cross the network in the clear to {self.url}; use https://, or "
                "a tunnel to this machine (ssh -L)"
            )

    def team(self) -> dict[str, Any]:
        """Who the token is: name, weight, quota, limits."""
        return self._get("/v1/team")

    def submit(self, spec: dict[str, Any], priority: int, key: str) -> ServedJob:
        """A new job in the queue; sent again under its key where the answer is lost.

        Raises:
            BadInput: the service cannot use the spec; its words.
        """
        body = {"spec": spec, "priority": priority}
        for attempt in range(_TRIES):
            try:
                found = self._post("/v1/jobs", body, {"Idempotency-Key": key})
                return ServedJob(self, str(found["id"]))
            except ServerDown:
                if attempt + 1 == _TRIES:
                    raise
                self.sleep(2.0**attempt)
        raise AssertionError("unreachable")

    def jobs(self) -> Iterator[dict[str, Any]]:
        """The team's jobs, newest first."""
        before: str | None = None
        while True:
            asked = {"limit": 100} | ({"before": before} if before else {})
            found = self._get("/v1/jobs", asked)
            yield from found["jobs"]
            before = found["next"]
            if before is None:
                return

    def job(self, word: str) -> ServedJob:
        """A job by its id, a unique beginning of it, or ``last``.

        Raises:
            UnknownName: with the nearest ids.
        """
        known = []
        for row in self.jobs():
            known.append(str(row["id"]))
            if word in ("last", row["id"]):
                return ServedJob(self, known[-1])
        matches = [name for name in known if is_id(word) and name.startswith(word)]
        if len(matches) == 1:
            return ServedJob(self, matches[0])
        raise UnknownName(f"no job {word!r:.100} at {self.url}; {nearest(word, known)}")

    def _get(self, path: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.url}{path}" + (f"?{urlencode(asked)}" if asked else "")
        return self._read(get_json(url, self.token, _TIMEOUT_S))

    def _post(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        url = f"{self.url}{path}"
        return self._read(post_json(url, body, self.token, _TIMEOUT_S, headers))

    def _read(self, answer: Answer) -> dict[str, Any]:
        """The body of a good answer, or the error that the service named."""
        if answer.status is None:
            raise ServerDown(f"the service at {self.url} does not answer: {answer.text}")
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status < 300 and body:
            return body
        error = body.get("error")
        told: dict[str, Any] = error if isinstance(error, dict) else {}
        said = str(told.get("message") or answer.text or "no reason given")
        if answer.status == 401:
            raise BadInput(f"{self.url} refuses the token: {said}. Renew it: optikit login URL")
        if answer.status in (502, 503, 504):
            raise ServerDown(f"the service at {self.url} cannot answer now: {said}")
        if answer.status == 429:
            again = answer.headers.get("retry-after", "some")
            raise OptikitError(f"{said} (try again in {again} s)")
        if answer.status == 404:
            raise UnknownName(said)
        if answer.status in (400, 409, 413, 422):
            kind = getattr(errors, str(told.get("kind")), BadInput)
            ours = isinstance(kind, type) and issubclass(kind, BadInput)
            raise (kind if ours else BadInput)(said)
        if not told:
            said = f"{said!r}; is it an OptiKIT service?"
        raise OptikitError(f"{self.url} answered HTTP {answer.status}: {said}")


class ServedJob:
    """A job of a service; as ``optikit.Job``, which is one of this machine."""

    def __init__(self, server: Server, job_id: str) -> None:
        self._server, self.id = server, job_id
        self._path = f"/v1/jobs/{quote(job_id, safe='')}"

    def status(self) -> dict[str, Any]:
        """State, exit code, message and stages."""
        return self._server._get(self._path)

    def trials(self) -> Trials:
        """Every trial that ended so far, oldest first; the last word on each id."""
        said = (Trial.parse(e["trial"]) for e in self.events() if e["kind"] == "trial")
        return Trials({trial.id: trial for trial in said}.values())

    def _repr_html_(self) -> str:
        return job_html(self.status())

    def brief(self) -> dict[str, Any]:
        """What a program keeps of a job that it leaves alone."""
        return {"id": self.id, "server": self._server.url, "simulated": self.plan().simulated}

    def plots(self) -> list[Path]:
        """None can be drawn from here.

        Raises:
            BadInput: always.
        """
        raise BadInput("--plots: they are drawn where the archive lies; leave out --server")

    def log_lines(self) -> Iterator[str]:
        """The driver's log as it grows, until the job has ended."""
        offset = 0
        while True:
            ended = self.status()["state"] not in ("queued", "starting", "running")
            while (part := self._log(offset, None))["text"]:
                yield part["text"]
                offset = part["next"]
            if ended:
                return
            self._server.sleep(_POLL_S)

    def plan(self) -> Plan:
        """What was resolved when the job was submitted."""
        return Plan.parse(self._server._get(f"{self._path}/plan"), f"the plan of {self.id}")

    def summary(self) -> dict[str, Any]:
        """What ``optikit show --json`` prints.

        Raises:
            BadInput: the job has not ended.
        """
        return self._server._get(f"{self._path}/result")

    def events(self) -> list[dict[str, Any]]:
        """The journal so far."""
        found: list[dict[str, Any]] = []
        part, offset = self._events(0)
        while part:
            found += part
            part, offset = self._events(offset)
        return found

    def logs(self, trial: str | None = None) -> str:
        """The driver's log, or the engine's log of a trial.

        Raises:
            UnknownName: no such trial.
        """
        texts, offset = [], 0
        while True:
            part = self._log(offset, trial)
            texts.append(part["text"])
            if part["next"] >= part["size"] or part["next"] == offset:
                return "".join(texts)
            offset = part["next"]

    def _log(self, offset: int, trial: str | None) -> dict[str, Any]:
        asked = {"offset": offset, "length": 1 << 18} | ({"trial": trial} if trial else {})
        return self._server._get(f"{self._path}/logs", asked)

    def cancel(self, patience_s: float = _CANCEL_S) -> bool:
        """Stop the job; False if it had ended already. Returns when it has ended."""
        stopped = bool(self._server._post(f"{self._path}/cancel")["stopped"])
        until = time.monotonic() + patience_s
        while stopped and self.status()["state"] not in FINAL:
            if time.monotonic() > until:
                raise OptikitError(
                    f"job {self.id} was told to stop {patience_s:g} s ago, and has not yet ended"
                )
            self._server.sleep(_POLL_S)
        return stopped

    def resume(self, pool: str | None = None) -> ServedJob:
        """Put it into the queue again; it goes on from its last record.

        Raises:
            BadInput: it runs, or has an end that a resume cannot change; or a pool was named.
        """
        if pool is not None:
            raise BadInput("--pool: where stages run is the service's to say")
        self._server._post(f"{self._path}/resume")
        return self

    def result(self, timeout_s: float | None = None, on_event: OnEvent | None = None) -> JobResult:
        """Wait for the end; a service that is away for some minutes is waited for.

        Raises:
            BadInput, StageFailed, Cancelled, TimeoutError: as ``Job.result``.
            ServerDown: it was away for ten minutes.
        """
        status = self._wait(timeout_s, on_event)
        log = f"see `optikit logs {self.id} --server {self._server.url}`"
        raise_failure(self.id, status["state"], status["message"] or log, log)
        return JobResult.of(self.summary())

    def _wait(self, timeout_s: float | None, on_event: OnEvent | None) -> dict[str, Any]:
        began = heard = time.monotonic()
        offset = 0
        while True:
            try:
                status = self.status()
                while on_event and (part := self._events(offset))[0]:
                    for event in part[0]:
                        on_event(event)
                    offset = part[1]
                heard = time.monotonic()
                if status["state"] in FINAL or status["state"] == "interrupted":
                    return status
            except ServerDown:
                if time.monotonic() - heard > _PATIENCE_S:
                    raise
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise TimeoutError(f"job {self.id} still runs after {timeout_s:g} s")
            self._server.sleep(_POLL_S)

    def _events(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """A part of the journal, and the offset behind it."""
        found = self._server._get(f"{self._path}/events", {"offset": offset})
        return found["events"], int(found["next"])
