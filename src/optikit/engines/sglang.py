"""SGLang as a server process of its own environment; no Python of SGLang's runs in this process.

Start, readiness and end are ``_process.py``'s. SGLang 0.5.23 takes its key as an argument or from a
YAML file (``--config``), never from a variable: the file keeps it out of the process list. It logs
its arguments as it starts, the key with them; that is wiped once the server is ready. Its own check
lets ``/health`` and ``/metrics`` answer anybody, here on the loopback address.
"""

from __future__ import annotations

import getpass
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from optikit.adapters.process import LOOPBACK
from optikit.engines._interpreter import interpreter_of, packages_in
from optikit.engines._process import Program, RunningServer, passed_on, serve_process
from optikit.engines._sglang_flags import arguments
from optikit.engines._sglang_log import LOG
from optikit.errors import BadInput
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.recipe import EngineFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["ENGINE", "Sglang"]

_MODULE = "sglang.launch_server"
_PYTHON_VARIABLE = "OPTIKIT_SGLANG_PYTHON"
_VENV = ".venv-sglang"
_GET = f"python -m venv {_VENV} && {_VENV}/bin/pip install sglang"
_PACKAGES = (
    *("sglang", "sglang-kernel", "torch", "transformers", "compressed-tensors"),
    "flashinfer-python",
)
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1"}
_MEMORY_SHARE = 0.84
"""What SGLang would choose on 80 GB at the plan's defaults: it keeps 1.5 MB back for each token of
a chunk and 2 MB for each sequence, beside weights and KV cache."""

# Read from layers/quantization/compressed_tensors of SGLang 0.5.23; none was tried by us.
_SCHEMES = ("none", "W8A8", "FP8", "FP8_DYNAMIC", "W4A16")
_UNSURE = ("W4A16_ASYM", "W8A16", "FP8_BLOCK", "FP8_KV", "NVFP4", "NVFP4A16")
"""Some of the hardware, or some of the layers alone. W4AFP8 is for experts, MXFP4 for other
formats."""


@dataclass(frozen=True)
class Sglang:
    """The engine. ``python``: interpreter of its environment, None: looked for when needed in
    $OPTIKIT_SGLANG_PYTHON, then as .venv-sglang beside the main environment, then here."""

    python: Path | None = None

    facts = EngineFacts(
        name="sglang",
        serves={"gpu": _SCHEMES},
        doubtful={"gpu": _UNSURE},
        memory_share=_MEMORY_SHARE,
        prompt_logprobs=False,
    )

    def interpreter(self) -> Path:
        """Absolute path of the environment's interpreter (links kept: they name it).

        Raises:
            EngineError: there is none; says how to get one.
        """
        return interpreter_of(self.python, _PYTHON_VARIABLE, _VENV, f"Make one (`{_GET}`)")

    def check(self, serving: ServingConfig, device: DeviceKind) -> None:
        """Raise BadInput for what SGLang has no argument for, or a flag that no job may set."""
        _must_be_gpu(device)
        arguments(serving)

    def version(self) -> str:
        """Version of SGLang in its environment; reads the package's metadata, imports nothing."""
        return self.packages()["sglang"]

    def packages(self) -> dict[str, str]:
        """Versions of the environment's packages that matter, by name."""
        python = self.interpreter()
        advice = f"`{python} -m pip install sglang`"
        return dict(packages_in(python, _PACKAGES, ("sglang",), advice))

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
            BadInput: a device or a value that SGLang does not serve, or a flag that no job may set.
        """
        _must_be_gpu(device)
        folder = model.absolute()
        return [
            *(str(self.interpreter()), "-m", _MODULE),
            *("--model-path", str(folder), "--served-model-name", name or folder.name),
            *("--host", host, "--port", str(port)),
            *arguments(serving),
        ]

    def environment(self, serving: ServingConfig, device: DeviceKind) -> dict[str, str]:
        """Environment variables that the command needs."""
        return dict(_ENVIRONMENT)

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
            engine="sglang",
            command=lambda chosen: self.command(model, serving, device, host=LOOPBACK, port=chosen),
            prepared=_prepared,
            log=LOG,
            logs_key=True,
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


def _prepared(command: Sequence[str], key: str, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """The command with its key in a file; see :class:`optikit.engines._process.Program`."""
    file = scratch / "key.yaml"
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as content:
        content.write(f"api-key: {json.dumps(key)}\n")
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
    environment = {
        "TORCHINDUCTOR_CACHE_DIR": str(compiled),  # it would lie under TMPDIR, and is worth keeping
        **passed_on(os.environ, "SGLANG"),
        **_ENVIRONMENT,
        "TMPDIR": str(scratch),  # its sockets stay behind
    }
    return [*command, "--config", str(file)], environment


def _must_be_gpu(device: DeviceKind) -> None:
    if device != "gpu":
        raise BadInput(
            "engine: sglang serves on GPUs here; its CPU build is another package that nobody "
            "publishes. Choose a GPU SKU, or engine: vllm"
        )


ENGINE = Sglang()
