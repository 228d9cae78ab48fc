"""vLLM's API server with engine core and workers forked instead of spawned: one import, not three.

Run by path with the engine environment's interpreter and the API server's own arguments. On a
CPU the start of a server is nearly all imports, and vLLM's CPU platform insists on spawning.
Nothing else differs from ``python -m vllm.entrypoints.openai.api_server``: same processes, same
arguments, same environment (LD_PRELOAD as vLLM gives it to the processes it spawns).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import runpy
import signal
import sys
import tempfile
import threading
from multiprocessing import resource_tracker
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


def preload_openmp() -> None:
    """Start this interpreter anew with torch's OpenMP library loaded first, as vLLM's workers."""
    torch = importlib.util.find_spec("torch")
    present = os.environ.get("LD_PRELOAD", "")
    if torch is None or torch.origin is None or "omp" in present:
        return
    package = Path(torch.origin).parent
    folders = (package.parent / "torch.libs", package / "lib")
    found = [str(path) for folder in folders for path in sorted(folder.glob("libgomp*.so*"))]
    if found:
        library = Path(found[0])
        if set(str(library)) & {" ", ":"}:  # the loader would take it for two
            link = Path(tempfile.mkdtemp(prefix="optikit-omp-")) / library.name
            link.symlink_to(library)
            library = link
        os.environ["LD_PRELOAD"] = ":".join(filter(None, (str(library), present)))
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606


def end_forks_with_parent() -> None:
    """SIGKILL every forked child when its parent dies (where the main thread made it)."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = {"main": False}

    def before() -> None:
        state["main"] = threading.current_thread() is threading.main_thread()

    def in_child() -> None:
        if state["main"]:  # the signal comes when the forking *thread* ends
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    os.register_at_fork(before=before, after_in_child=in_child)


def fork_not_spawn() -> None:
    """Undo the CPU platform's choice of spawn, once it has been made."""
    platform = importlib.import_module("vllm.platforms.cpu").CpuPlatform
    original = platform.check_and_update_config.__func__

    def check_and_update_config(cls: type, config: object) -> None:
        original(cls, config)
        os.environ[_METHOD] = "fork"

    platform.check_and_update_config = classmethod(check_and_update_config)


def main() -> None:
    """Become the API server."""
    here = str(Path(__file__).parent)
    sys.path[:] = [entry for entry in sys.path if entry != here]  # it holds our own vllm.py
    sys.path.append(str(Path.cwd()))  # as `-m` would: the guard of the server's key lies there
    preload_openmp()
    end_forks_with_parent()
    fork_not_spawn()
    # One tracker of shared memory, a child of the API server: one that a fork starts for itself
    # is killed with it, and every server leaves its message queues behind in /dev/shm.
    resource_tracker.ensure_running()
    # What the worker would import for itself is imported once, before the forks.
    importlib.import_module("vllm.v1.executor.multiproc_executor")
    importlib.import_module("vllm.v1.worker.cpu_worker")
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
