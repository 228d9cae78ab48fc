"""A server as a process group of its own, whichever engine it is of: start, readiness, end.

A server is a tree: the supervisor (``_supervisor.py``, leader of a new session), and below it what
the engine starts. It is ready once it has answered one whole completion, and when the block ends
nothing of the tree is left. What differs from engine to engine is a :class:`Program`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from optikit.adapters.leftovers import held_devices
from optikit.adapters.output import blot_out
from optikit.adapters.process import LOOPBACK, end_group, free_port, group_of, port_in_use
from optikit.core.redact import Redactor, secrets_in
from optikit.engines._log import NO_KERNEL, LogReader
from optikit.engines._warm import read_ahead
from optikit.errors import EngineDied, EngineError, EngineStartFailed, NoKernel, PortInUse
from optikit.journal import patiently
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.sku import DeviceKind

__all__ = ["Program", "RunningServer", "passed_on", "serve_process"]

_SUPERVISOR = Path(__file__).parent / "_supervisor.py"
_PASSED = (
    r"(PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_CACHE_HOME"
    r"|(CUDA|NVIDIA|NCCL|GLOO|HIP|ROCR|TORCH\w*|TRITON|FLASHINFER|{own})_\w+)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL")

_GRACE_S = 8.0
_SWEEP_S = 3.0
_POLL_S = 0.25
_REFUSED_S = 10.0
_LOG_BYTES = 1_000_000
_READY_PROMPT, _READY_OUTPUT = 8, 4


def passed_on(environment: Mapping[str, str], own: str) -> dict[str, str]:
    """What a server may see of the caller's environment: no secrets, no foreign Python path.

    Args:
        own: prefix of the engine's own variables: ``VLLM``.
    """
    passed = re.compile(_PASSED.format(own=own))
    return {
        name: value
        for name, value in environment.items()
        if passed.fullmatch(name) and not _SECRET.search(name)
    }


@dataclass(frozen=True)
class Program:
    """How one configuration of an engine is started on one model."""

    engine: str
    command: Callable[[int], list[str]]
    """The plain command for a port, interpreter first: what is said and archived."""
    prepared: Callable[[Sequence[str], str, Path], tuple[list[str], dict[str, str]]]
    """What is run in its place, and the whole environment. Gets the plain command, the server's
    key, which may be in no argument, and a scratch folder for this server alone."""
    log: LogReader
    logs_key: bool = False
    """The engine writes its key into its log as it starts: it is wiped as soon as it is ready."""
    metrics: str | None = None
    """Path at which it answers Prometheus, where its words are known (``core/scrapes.py``)."""


@dataclass
class RunningServer:
    """A server that answered; see ``engines.base.Server``."""

    endpoint: Endpoint
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    what: str
    log: Path
    log_start: int
    reader: LogReader
    startup_s: float = 0.0
    says: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """The end of what this server wrote to its log."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - _LOG_BYTES))
            told = file.read().decode(errors="replace")
        return Redactor(secrets_in({"API_KEY": self.endpoint.api_key or ""})).text(told)

    def check(self) -> None:
        """Raise EngineDied if the server is gone."""
        code = self.process.poll()
        if code is not None:
            told = self.told()
            raise EngineDied(
                f"{self.what}: the server ended with code {code} while it was in use; "
                f"{self.reader.explain(told, code)}\nlog: {self.log}",
                cause=self.reader.failure_of(told, code),
            )

    def failed(self, found: str) -> EngineStartFailed:
        """The error of a start that failed because of ``found``."""
        told, code = self.told(), self.process.poll()
        cause = self.reader.failure_of(told, code)
        kind = NoKernel if cause == NO_KERNEL else EngineStartFailed
        why = self.reader.explain(told, code)
        return kind(f"{self.what} did not start: {found}; {why}\nlog: {self.log}", cause=cause)


@contextmanager
def serve_process(
    program: Program,
    model: Path,
    device: DeviceKind,
    *,
    max_model_len: int,
    vocab: int,
    log: Path,
    port: int | None,
    start_timeout_s: float,
    what: str,
    on_start: Callable[[ProcessGroup], None] | None,
) -> Iterator[RunningServer]:
    """A running server; see ``engines.base.Engine.serve``.

    Args:
        max_model_len: longest context in tokens; the first completion fits into it.
    """
    if port is not None and port_in_use(port):
        raise PortInUse(
            f"{what}: port {port} was asked for, but another process has 127.0.0.1:{port}; "
            f"choose another engine.port, or leave it out for a free one"
        )
    if device == "gpu":
        _must_be_free(what)
    chosen = free_port() if port is None else port
    command = program.command(chosen)
    key = secrets.token_hex(24)  # begins with no dash, as a flag would
    base_url = f"http://{LOOPBACK}:{chosen}"
    endpoint = Endpoint(
        base_url=base_url,
        model=model.absolute().name,
        vocab=vocab,
        api_key=key,
        metrics_url=None if program.metrics is None else f"{base_url}{program.metrics}",
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    begun, deadline = time.monotonic(), time.monotonic() + start_timeout_s
    start = log.stat().st_size if log.exists() else 0
    # engines leave sockets and rendezvous folders behind; they go with this one
    scratch = Path(tempfile.mkdtemp(prefix=f"optikit-{program.engine}-"))
    read_ahead(model)
    with patiently(lambda: log.open("ab"), f"open {log}") as sink:
        words, environment = program.prepared(command, key, scratch)
        process = _spawn(words, environment, sink.fileno(), scratch)
    group: ProcessGroup | None = None
    try:
        group = group_of(process.pid, what, chosen)
        if on_start is not None:
            on_start(group)
        server = RunningServer(endpoint, command, process, what, log, start, program.log)
        _wait_until_ready(server, max_model_len, deadline, start_timeout_s)
        server.startup_s = time.monotonic() - begun
        if program.logs_key:
            patiently(lambda: blot_out(key, log, start), f"go over {log}")
        yield server
    finally:
        try:
            _stop(process, group, what)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            patiently(lambda: blot_out(key, log, start), f"go over {log}")


def _spawn(
    words: Sequence[str], environment: Mapping[str, str], sink: int, scratch: Path
) -> subprocess.Popen[bytes]:
    """Under the supervisor, run by the interpreter that ``words`` begins with."""
    return subprocess.Popen(  # noqa: S603
        [words[0], str(_SUPERVISOR), str(os.getpid()), str(_GRACE_S), *words],
        stdin=subprocess.PIPE,  # the lifeline: it closes when this process ends
        stdout=sink,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=scratch,  # a folder of ours: `-m` looks for modules there first
        env=dict(environment),
        start_new_session=True,
    )


def _must_be_free(what: str) -> None:
    """Raise if a GPU of ours holds somebody's memory: the start would fail, and seem the
    configuration's fault."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    held = [f"{name} holds {n / 2**30:.1f} GiB" for name, n in held_devices(visible).items()]
    if held:
        raise EngineStartFailed(
            f"{what}: GPU {', '.join(held)} before anything was started on it; nvidia-smi names "
            "the process: end it, or keep the device out of the cluster",
            cause="occupied",
        )


def _wait_until_ready(
    server: RunningServer, max_model_len: int, deadline: float, asked_s: float
) -> None:
    """Return after one whole completion of the asked length; health alone proves no kernel."""
    output = min(_READY_OUTPUT, max_model_len - 1)
    length = min(_READY_PROMPT, max_model_len - output)
    body = {
        "model": server.endpoint.model,
        "prompt": [(7 * index + 3) % server.endpoint.vocab for index in range(length)],
        "max_tokens": output,
        "ignore_eos": True,
        "temperature": 0.0,
    }
    while (left := deadline - time.monotonic()) > 0:
        try:
            answer = _post(server.endpoint, body, left)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                told = error.read(2000).decode(errors="replace")
                _wait_for_end(server.process)  # its log then says why
                raise server.failed(f"the first completion got HTTP {error.code}: {told}") from None
        except (OSError, ValueError, http.client.HTTPException):
            pass  # not listening yet, or it ended in the middle of the answer
        else:
            done = answer.get("usage", {}).get("completion_tokens")
            if done != output:
                raise server.failed(f"asked for {output} tokens, the first answer has {done}")
            return
        code = server.process.poll()
        if code is not None:
            raise server.failed(f"the process ended with code {code}")
        time.sleep(_POLL_S)
    raise server.failed(f"no whole completion within {asked_s:g} s")


def _post(
    endpoint: Endpoint, body: Mapping[str, object], timeout_s: float
) -> dict[str, dict[str, int]]:
    request = urllib.request.Request(  # noqa: S310
        f"{endpoint.base_url}/v1/completions",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {endpoint.api_key}",
        },
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=max(timeout_s, 1.0)) as answer:
        content = json.loads(answer.read())
    return content if isinstance(content, dict) else {}


def _wait_for_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_REFUSED_S)
    except subprocess.TimeoutExpired:
        return  # it lives on and refuses


def _stop(process: subprocess.Popen[bytes], group: ProcessGroup | None, what: str) -> None:
    """End the server and prove that nothing of its group lives.

    Raises:
        EngineError: something survived SIGKILL.
    """
    if process.stdin is not None:
        process.stdin.close()  # from here on the supervisor ends it, whatever becomes of us
    try:
        process.wait(_GRACE_S + _SWEEP_S)
    except subprocess.TimeoutExpired:
        process.terminate()
    left = end_group(group, grace_s=1.0) if group is not None else []
    if process.poll() is None and not left:
        process.wait(_SWEEP_S)
    if left:
        raise EngineError(f"{what}: processes {left} survived SIGKILL; end them by hand")
