"""vLLM as a server process of its own environment; no Python of vLLM's runs in this process.

A server is a tree: supervisor (``_supervisor.py``, leader of a new session), API server, engine
core, workers. On a CPU the last three start through ``_vllm_forked.py``, which imports once.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optikit.adapters.leftovers import held_devices
from optikit.adapters.output import blot_out
from optikit.adapters.process import LOOPBACK, end_group, free_port, group_of, port_in_use
from optikit.core.redact import Redactor, secrets_in
from optikit.engines._vllm_flags import arguments, must_be_known
from optikit.engines._vllm_install import known_flags, packages_of
from optikit.engines._vllm_log import NO_KERNEL, explain, failure_of
from optikit.engines._warm import read_ahead
from optikit.errors import EngineDied, EngineError, EngineStartFailed, NoKernel, PortInUse
from optikit.journal import patiently
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.recipe import EngineFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["ENGINE", "Vllm"]

_HERE = Path(__file__).parent
_GUARD = "optikit_guard"
_MODULE = "vllm.entrypoints.openai.api_server"
_PYTHON_VARIABLE = "OPTIKIT_ENGINE_PYTHON"
_VENV_PYTHON = Path(".venv-engine") / "bin" / "python"
_EVERYWHERE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
_ON_CPU = {
    # One thread: a second one spins while it waits, and starves the load generator beside it.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # Servers are eager here, yet scoring log-probabilities would still call a C++ compiler: it may
    # be missing, and it fails where the environment's path has a space.
    "TORCHDYNAMO_DISABLE": "1",
}
_KV_SPACE = "VLLM_CPU_KVCACHE_SPACE"
_KV_SPACE_GIB = "1"
_PASSED = re.compile(
    r"(PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_CACHE_HOME"
    r"|(CUDA|NVIDIA|NCCL|GLOO|HIP|ROCR|TORCH\w*|TRITON|FLASHINFER|VLLM)_\w+)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL")

_GRACE_S = 8.0
_SWEEP_S = 3.0
_POLL_S = 0.25
_REFUSED_S = 10.0
_LOG_BYTES = 1_000_000
_READY_PROMPT, _READY_OUTPUT = 8, 4

# Tried with vLLM 0.32 (tests/integration/test_recipes.py). NVFP4 has no CPU kernel ("Failed to find
# a kernel"); FP8 ends while q, k and v get one scale (static_scaled_fp8_quant is an empty entry).
# fp8 products run on torch's reference without AMX-FP8: right, and far too slow for a real model.
_CPU_SCHEMES = ("none", "W8A8", "FP8_DYNAMIC")
_SOME_CPUS = ("W4A16", "W4A16_ASYM", "FP8_KV")
"""x86 with AVX-512: the AVX2 build has neither cpu_gemm_wna16 nor attention on an fp8 cache; the
first takes bfloat16 alone (decision 0006)."""
_GPU_SCHEMES = (
    *("none", "W8A8", "W8A16", "W4A16", "W4A16_ASYM", "W4AFP8"),
    *("FP8", "FP8_DYNAMIC", "FP8_BLOCK", "FP8_KV", "NVFP4", "NVFP4A16", "MXFP4"),
)


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What a server may see of the caller's environment: no secrets, no foreign Python path."""
    return {
        name: value
        for name, value in environment.items()
        if _PASSED.fullmatch(name) and not _SECRET.search(name)
    }


@dataclass
class _Running:
    """A server that answered; see ``engines.base.Server``."""

    endpoint: Endpoint
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    what: str
    log: Path
    log_start: int
    startup_s: float = 0.0

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
                f"{explain(told, code)}\nlog: {self.log}",
                cause=failure_of(told, code),
            )

    def failed(self, found: str) -> EngineStartFailed:
        """The error of a start that failed because of ``found``."""
        told, code = self.told(), self.process.poll()
        cause = failure_of(told, code)
        kind = NoKernel if cause == NO_KERNEL else EngineStartFailed
        why = explain(told, code)
        return kind(f"{self.what} did not start: {found}; {why}\nlog: {self.log}", cause=cause)


@dataclass(frozen=True)
class Vllm:
    """The engine. ``python``: interpreter of the engine environment, None: looked for when needed
    in $OPTIKIT_ENGINE_PYTHON, then as .venv-engine beside the main environment, then here."""

    python: Path | None = None

    facts = EngineFacts(
        name="vllm",
        serves={"cpu": _CPU_SCHEMES, "gpu": _GPU_SCHEMES},
        doubtful={"cpu": _SOME_CPUS},
    )

    def interpreter(self) -> Path:
        """Absolute path of the engine environment's interpreter (links kept: they name the venv).

        Raises:
            EngineError: there is none; says how to get one.
        """
        told = os.environ.get(_PYTHON_VARIABLE)
        if self.python is not None or told:
            places = [self.python or Path(str(told))]
        else:
            places = [Path(sys.prefix).parent / _VENV_PYTHON, Path.cwd() / _VENV_PYTHON]
        for place in places:
            if os.access(place, os.X_OK) and place.is_file():
                return place.absolute()
        raise EngineError(
            f"no engine environment: looked for {' and '.join(map(str, places))}. Run `make setup`,"
            f" or make one (`python -m venv .venv-engine && .venv-engine/bin/pip install vllm`)"
            f" and point {_PYTHON_VARIABLE} at its python"
        )

    def check(self, serving: ServingConfig, device: DeviceKind) -> None:
        """Raise BadInput for a flag that is not the caller's to set, or that vLLM does not know."""
        arguments(serving, device)
        if serving.extra_flags:
            try:
                known = known_flags(self.interpreter())
            except EngineError:
                return  # nothing to ask; the start will say that there is no vLLM
            must_be_known(serving, known)

    def version(self) -> str:
        """Version of vLLM in its environment; reads the package's metadata, imports nothing."""
        found = self.packages()
        return found.get("vllm") or found["vllm-cpu"]

    def packages(self) -> dict[str, str]:
        """Versions of the engine environment's packages that matter, by name."""
        return dict(packages_of(self.interpreter()))

    def command(
        self,
        model: Path,
        serving: ServingConfig,
        device: DeviceKind,
        *,
        host: str,
        port: int,
        name: str | None = None,
    ) -> list[str]:
        """The full argument list of a plain server.

        Raises:
            BadInput: a flag that is not the caller's to set.
        """
        folder = model.absolute()
        return [
            *(str(self.interpreter()), "-m", _MODULE),
            *("--model", str(folder), "--served-model-name", name or folder.name),
            *("--host", host, "--port", str(port)),
            *arguments(serving, device),
        ]

    def environment(self, serving: ServingConfig, device: DeviceKind) -> dict[str, str]:
        """Environment variables that the command needs."""
        if device == "gpu":
            return dict(_EVERYWHERE)
        space = os.environ.get(_KV_SPACE) or _KV_SPACE_GIB
        return {**_EVERYWHERE, **_ON_CPU, _KV_SPACE: space}

    @contextmanager
    def serve(
        self,
        model: Path,
        serving: ServingConfig,
        device: DeviceKind,
        *,
        vocab: int,
        log: Path,
        port: int | None = None,
        start_timeout_s: float = 600.0,
        what: str = "server",
        on_start: Callable[[ProcessGroup], None] | None = None,
    ) -> Iterator[_Running]:
        """A running server; see ``engines.base.Engine``."""
        if port is not None and port_in_use(port):
            raise PortInUse(
                f"{what}: port {port} was asked for, but another process has 127.0.0.1:{port}; "
                f"choose another engine.port, or leave it out for a free one"
            )
        if device == "gpu":
            _must_be_free(what)
        chosen = free_port() if port is None else port
        command = self.command(model, serving, device, host=LOOPBACK, port=chosen)
        endpoint = Endpoint(
            base_url=f"http://{LOOPBACK}:{chosen}",
            model=model.absolute().name,
            vocab=vocab,
            api_key=secrets.token_urlsafe(24),
            metrics_url=f"http://{LOOPBACK}:{chosen}/metrics",
        )
        log.parent.mkdir(parents=True, exist_ok=True)
        begun, deadline = time.monotonic(), time.monotonic() + start_timeout_s
        start = log.stat().st_size if log.exists() else 0
        # vLLM leaves sockets and rendezvous folders behind; they go with this one
        scratch = Path(tempfile.mkdtemp(prefix="optikit-vllm-"))
        read_ahead(model)
        with patiently(lambda: log.open("ab"), f"open {log}") as sink:
            process = self._spawn(command, serving, device, endpoint, sink.fileno(), scratch)
        group: ProcessGroup | None = None
        try:
            group = group_of(process.pid, what, chosen)
            if on_start is not None:
                on_start(group)
            server = _Running(endpoint, command, process, what, log, start)
            _wait_until_ready(server, serving, deadline, start_timeout_s)
            server.startup_s = time.monotonic() - begun
            yield server
        finally:
            try:
                _stop(process, group, what)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
                key = str(endpoint.api_key)
                patiently(lambda: blot_out(key, log, start), f"go over {log}")

    def _spawn(
        self,
        command: list[str],
        serving: ServingConfig,
        device: DeviceKind,
        endpoint: Endpoint,
        sink: int,
        scratch: Path,
    ) -> subprocess.Popen[bytes]:
        shutil.copy(_HERE / "_vllm_guard.py", scratch / f"{_GUARD}.py")
        python, plain = command[0], command[1:]
        if device == "cpu":  # in place of `-m module`: the same server, forked
            plain = [str(_HERE / "_vllm_forked.py"), *command[3:]]
        supervisor = [python, str(_HERE / "_supervisor.py"), str(os.getpid()), str(_GRACE_S)]
        return subprocess.Popen(  # noqa: S603
            [*supervisor, python, *plain, "--middleware", f"{_GUARD}.Guard"],
            stdin=subprocess.PIPE,  # the lifeline: it closes when this process ends
            stdout=sink,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=scratch,  # a folder of ours: `-m` looks for modules there first
            env={
                **_passed_on(os.environ),
                **self.environment(serving, device),
                "VLLM_API_KEY": str(endpoint.api_key),
                "VLLM_RPC_BASE_PATH": str(scratch),
                # on a GPU compile caches may lie under TMPDIR, and those are worth keeping
                **({"TMPDIR": str(scratch)} if device == "cpu" else {}),
            },
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
    server: _Running, serving: ServingConfig, deadline: float, asked_s: float
) -> None:
    """Return after one whole completion of the asked length; health alone proves no kernel."""
    output = min(_READY_OUTPUT, serving.max_model_len - 1)
    length = min(_READY_PROMPT, serving.max_model_len - output)
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


ENGINE = Vllm()
