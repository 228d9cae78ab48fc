"""What this machine is: the facts that a figure measured on it depends on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "cpu_dtype",
    "describe_environment",
    "gpu_count",
    "gpu_memory_used",
    "hardware",
    "packages",
]

_PACKAGES = (
    "optikit",
    "ray",
    "torch",
    "transformers",
    "llmcompressor",
    "compressed-tensors",
    "lm-eval",
    "optuna",
    "mlflow-skinny",
    "numpy",
    "scipy",
    "pydantic",
    "pyyaml",
    "rich",
    "aiohttp",
    "pyarrow",
)
_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_USED = ("--query-gpu=index,uuid,memory.used", "--format=csv,noheader,nounits")
_MIB = 1024**2
_TIMEOUT_S = 10.0


def hardware(proc: Path = Path("/proc")) -> dict[str, str]:
    """CPU model, cores this process may use, memory, kernel; one entry a GPU where there are any.

    What cannot be read says so in its value; nothing is raised.
    """
    facts = {
        "cpu": _after(proc / "cpuinfo", "model name") or platform.machine() or "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(proc / "meminfo"),
        "kernel": f"{platform.system()} {platform.release()}",
    }
    return facts | {f"gpu{index}": gpu for index, gpu in enumerate(_gpus())}


def gpu_count() -> int:
    """GPUs that the driver lists."""
    return len(_gpus())


def gpu_memory_used() -> dict[str, int]:
    """Bytes in use on each GPU, by its index and by its UUID; empty where nothing can be asked."""
    found: dict[str, int] = {}
    try:
        lines = _asked(_USED)
    except OSError:
        return {}
    for line in lines:
        index, uuid, used = (part.strip() for part in line.split(","))
        if used.isdecimal():  # "[N/A]" on devices that do not tell
            found[index] = found[uuid] = int(used) * _MIB
    return found


def cpu_dtype(proc: Path = Path("/proc")) -> Literal["float32", "bfloat16"]:
    """The dtype that a CPU engine serves well in here.

    With AMX tiles or AVX-512's bfloat16 products that dtype is native, and vLLM's int8 kernels
    for AMX and all its int4 kernels take no float32; elsewhere bfloat16 is emulated.
    """
    flags = set((_after(proc / "cpuinfo", "flags") or "").split())
    native = "avx512_bf16" in flags or {"amx_tile", "amx_bf16"} <= flags
    return "bfloat16" if native else "float32"


def describe_environment() -> dict[str, Any]:
    """Hardware, interpreter and the versions of the main environment's packages that matter.

    A package that is not installed is left out.
    """
    return {
        "hardware": hardware(),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Versions of the main environment's packages that matter, of those installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _after(file: Path, key: str) -> str | None:
    """The value of the first ``key : value`` line."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _memory(meminfo: Path) -> str:
    total = _after(meminfo, "MemTotal")
    digits = (total or "").removesuffix("kB").strip()
    return f"{int(digits) / 1024**2:.1f} GiB" if digits.isdecimal() else "unknown"


def _gpus() -> list[str]:
    """``name, memory, driver`` of each device, as nvidia-smi prints them."""
    try:
        return _asked(_QUERY)
    except OSError as error:
        return [f"nvidia-smi did not answer: {error}"]


def _asked(query: tuple[str, ...]) -> list[str]:
    """Lines of nvidia-smi's answer; none where it is missing or fails.

    Raises:
        OSError: it cannot be started, or does not answer in time.
    """
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603
            [command, *query], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(str(error)) from error
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines if done.returncode == 0 else []
