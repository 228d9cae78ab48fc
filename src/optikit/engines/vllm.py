"""vLLM as a server process of its own environment; no Python of vLLM's runs in this process.

Start, readiness and end are ``_process.py``'s. The server is a tree: API server, engine core,
workers. On a CPU all three start through ``_vllm_forked.py``, which imports once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from optikit.adapters.process import LOOPBACK
from optikit.engines._interpreter import interpreter_of
from optikit.engines._process import Program, RunningServer, passed_on, serve_process
from optikit.engines._vllm_flags import arguments, must_be_known
from optikit.engines._vllm_install import known_flags, packages_of
from optikit.engines._vllm_log import LOG
from optikit.errors import EngineError
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.recipe import EngineFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["ENGINE", "Vllm"]

_HERE = Path(__file__).parent
_GUARD = "optikit_guard"
_MODULE = "vllm.entrypoints.openai.api_server"
_PYTHON_VARIABLE = "OPTIKIT_ENGINE_PYTHON"
_VENV = ".venv-engine"
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
        return interpreter_of(
            self.python,
            _PYTHON_VARIABLE,
            _VENV,
            "Run `make setup`, or make one (`python -m venv .venv-engine && "
            ".venv-engine/bin/pip install vllm`)",
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
    ) -> AbstractContextManager[RunningServer]:
        """A running server; see ``engines.base.Engine``."""
        program = Program(
            engine="vllm",
            command=lambda chosen: self.command(model, serving, device, host=LOOPBACK, port=chosen),
            prepared=lambda command, key, scratch: self._prepared(
                command, key, scratch, serving, device
            ),
            log=LOG,
            metrics="/metrics",
        )
        return serve_process(
            program,
            model,
            device,
            max_model_len=serving.max_model_len,
            vocab=vocab,
            log=log,
            port=port,
            start_timeout_s=start_timeout_s,
            what=what,
            on_start=on_start,
        )

    def _prepared(
        self,
        command: Sequence[str],
        key: str,
        scratch: Path,
        serving: ServingConfig,
        device: DeviceKind,
    ) -> tuple[list[str], dict[str, str]]:
        """The guarded server's words and environment; see :class:`Program`."""
        shutil.copy(_HERE / "_vllm_guard.py", scratch / f"{_GUARD}.py")
        words = list(command)
        if device == "cpu":  # in place of `-m module`: the same server, forked
            words[1:3] = [str(_HERE / "_vllm_forked.py")]
        environment = {
            **passed_on(os.environ, "VLLM"),
            **self.environment(serving, device),
            "VLLM_API_KEY": key,
            "VLLM_RPC_BASE_PATH": str(scratch),
            # on a GPU compile caches may lie under TMPDIR, and those are worth keeping
            **({"TMPDIR": str(scratch)} if device == "cpu" else {}),
        }
        return [*words, "--middleware", f"{_GUARD}.Guard"], environment


ENGINE = Vllm()
