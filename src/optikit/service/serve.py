"""One service a home: its lock, database, queue and server, from start to end. Imports uvicorn."""

from __future__ import annotations

import copy
import fcntl
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from optikit.adapters.jsonlog import FORMAT, JsonFormat, asked_for
from optikit.api import Submitter
from optikit.errors import BadInput, OptikitError, PortInUse
from optikit.index.telling import VARIABLE, index_of_environment
from optikit.service.database import Database
from optikit.service.desk import Desk
from optikit.service.dispatch import Dispatcher
from optikit.service.indexing import Indexing
from optikit.service.inventory import inventory
from optikit.service.metrics import Metrics
from optikit.service.reconcile import reconcile
from optikit.service.rest import application
from optikit.service.teams import OPEN_TEAM, add
from optikit.spec.queue import Site, Team
from optikit.specfile import read_mapping

__all__ = ["Asked", "serve"]

_MOST_CONNECTIONS = 512
_LAST_ANSWERS_S = 10


@dataclass(frozen=True)
class Asked:
    """What ``optikit serve`` was asked for."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8470
    """0: a free one."""
    site: Path | None = None
    database: str | None = None
    index: str | None = None
    """Of all teams' jobs; None: what $OPTIKIT_INDEX_URL says."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_tls_proxy: bool = False


def serve(asked: Asked, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Jobs' drivers go on without the service.

    Args:
        say: hears what a person at the console should know.

    Raises:
        BadInput: it may not listen there, the site's file is wrong, or the home has a service.
        PortInUse: somebody else listens there.
        ArchiveError: the database does not answer.
    """
    site = Site.parse(read_mapping(asked.site, "site"), str(asked.site)) if asked.site else Site()
    if site.log_format is not None:
        os.environ[FORMAT] = site.log_format  # drivers are started with it
    asked_for()
    with _only_one(asked.home) as home:
        database = Database(home, asked.database)
        try:
            database.claim()
            is_open = _may_listen(asked, database, say)
            for said in reconcile(database):
                say(said)
            with inventory(site) as nodes, _socket(asked) as listening, _indexed(asked, database):
                metrics = Metrics(public=site.metrics, behind_proxy=asked.behind_tls_proxy)
                dispatcher = Dispatcher(database, nodes, watcher=metrics)
                metrics.watch(dispatcher.facts)
                desk = Desk(
                    database, dispatcher, lambda of: Submitter(of, site=site), open_team=is_open
                )
                return _run(asked, desk, dispatcher, metrics, listening, say)
        finally:
            database.close()


def _run(
    asked: Asked,
    desk: Desk,
    dispatcher: Dispatcher,
    metrics: Metrics,
    listening: socket.socket,
    say: Callable[[str], None],
) -> int:
    stop, broken = threading.Event(), threading.Event()

    def check() -> None:
        if not turns.is_alive():
            raise OptikitError("the queue stands still; the service's log says why")
        desk.check()

    server = uvicorn.Server(
        uvicorn.Config(
            application(desk, check, metrics, asked.tls_cert is not None or asked.behind_tls_proxy),
            log_config=_logging(),
            server_header=False,
            proxy_headers=asked.behind_tls_proxy,
            ssl_certfile=asked.tls_cert,
            ssl_keyfile=asked.tls_key,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
            lifespan="off",
            ws="none",
        )
    )

    def take_turns() -> None:
        try:
            dispatcher.run(stop)
        finally:
            if not stop.is_set():  # a bug: whoever watches the service starts it again
                broken.set()
                server.should_exit = True

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    turns = threading.Thread(target=take_turns, name="dispatcher", daemon=True)
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        turns.start()
        scheme = "https" if asked.tls_cert else "http"
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(
            f"serving {asked.home} at {scheme}://{shown}:{port}; its pages: /jobs, its API: "
            "/openapi.json, /docs"
        )
        server.run(sockets=[listening])
    finally:
        stop.set()
        turns.join(_LAST_ANSWERS_S)
        for number, action in before.items():
            signal.signal(number, action)
    say("the queue failed, see above" if broken.is_set() else "the service has ended")
    return 1 if broken.is_set() else 0


def _logging() -> dict[str, Any]:
    """Everything to standard error; a line a request, without its headers."""
    as_json = asked_for()
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config["loggers"]["optikit"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    if as_json:
        config["formatters"] = {key: {"()": JsonFormat} for key in config["formatters"]}
    else:  # what the journals say is in the journals
        config["loggers"]["optikit.journal"] = {"level": "WARNING"}
    return config


def _may_listen(asked: Asked, database: Database, say: Callable[[str], None]) -> bool:
    """Whether who has no token is let in; raises where it would be wrong to listen at all."""
    if (asked.tls_cert is None) != (asked.tls_key is None):
        raise BadInput("--tls-cert and --tls-key belong together")
    for file in (asked.tls_cert, asked.tls_key):
        if file is not None and not file.is_file():
            raise BadInput(f"no file {file}")
    entries = [entry for entry in database.team_entries() if not entry.removed]
    tokens = [entry for entry in entries if entry.token_sha256 is not None]
    if is_loopback(asked.host):
        if not entries:
            add(database, Team(name=OPEN_TEAM), again=True, with_token=False)
        if not tokens:
            say(
                f"no team has a token: every user of this machine is the team {OPEN_TEAM}. "
                "`optikit teams add NAME` makes a team, and ends that"
            )
        return not tokens
    if not tokens:
        raise BadInput(
            f"--host {asked.host} can be reached from other machines, and no team has a token; "
            f"first: optikit teams add NAME --home {asked.home}"
        )
    if asked.tls_cert is None and not asked.behind_tls_proxy:
        raise BadInput(
            f"--host {asked.host} can be reached from other machines, and tokens would cross the "
            "network in the clear; give --tls-cert and --tls-key, or say --behind-tls-proxy where "
            "something in front of the service does TLS"
        )
    return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name leads where a resolver says


@contextmanager
def _only_one(home: Path) -> Iterator[Path]:
    """The home, which no other service has while this one does; the lock ends with the process."""
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(home / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            whose = os.pread(handle, 32, 0).decode(errors="replace").strip()
            raise BadInput(
                f"{home} has a service already (process {whose or 'unknown'}); one home, one "
                "service: end that one, or give another --home"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield home.resolve()
    finally:
        os.close(handle)


@contextmanager
def _indexed(asked: Asked, database: Database) -> Iterator[None]:
    """Beside what is done within, an index is kept up to date, where one is named."""
    named = (asked.index, "--index") if asked.index else (index_of_environment(), f"${VARIABLE}")
    if named[0] is None:
        yield
        return
    indexing, stop = Indexing(database, named[0], named[1]), threading.Event()
    turns = threading.Thread(target=indexing.run, args=(stop,), name="indexing", daemon=True)
    turns.start()
    try:
        yield
    finally:
        stop.set()
        turns.join(_LAST_ANSWERS_S)


@contextmanager
def _socket(asked: Asked) -> Iterator[socket.socket]:
    if not 0 <= asked.port <= 65535:
        raise BadInput(f"--port {asked.port}: a port is a number up to 65535")
    family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
    try:
        listening = socket.create_server((asked.host, asked.port), family=family, backlog=256)
    except OSError as error:
        raise PortInUse(
            f"cannot listen at {asked.host}:{asked.port}: {error.strerror or error}; choose "
            "another --port, or --port 0 for a free one"
        ) from None
    try:
        yield listening
    finally:
        with suppress(OSError):
            listening.close()
