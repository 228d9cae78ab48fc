"""The only importer of Ray: a local cluster or a named one, and one actor a task."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

from optikit.adapters.ray_watch import answer, check_raylet, raylet_pid
from optikit.errors import DoesNotFit, OptikitError, WorkerDied

__all__ = [
    "TaskActor",
    "accelerators_by_node",
    "address",
    "cluster",
    "connected",
    "devices_by_node",
    "here",
    "node_ids",
    "require",
]


class TaskActor:
    """One actor that runs one task. ``end`` returns when its process is gone."""

    def __init__(
        self,
        name: str,
        cpus: float,
        gpus: int,
        accelerator: str | None,
        node: str | None = None,
        inside: Any = None,
    ) -> None:
        import ray

        self._ray = ray
        options: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        if inside is not None:  # a reservation's strategy: the node is chosen
            options["scheduling_strategy"] = inside
        elif accelerator:
            options["accelerator_type"] = accelerator
        if node and inside is None:
            affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            options["scheduling_strategy"] = affinity(node, soft=False)
        self._what = name
        self._actor = ray.remote(_Runner).options(**options).remote()
        self._pid: int | None = None
        self.node: str | None = None
        """Id of the node where it runs; None before it does."""

    def run(self, task: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The task's answer.

        Raises:
            WorkerDied: the actor ended without one.
            ClusterError: the Ray of this process ended.
            Exception: what the task raised, as it was.
        """
        exceptions = self._ray.exceptions
        try:
            self._pid, self.node = answer(self._actor.where.remote())
            return answer(self._actor.run.remote(task, args))
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, OptikitError):
                raise cause from None
            told = f"{type(cause).__name__}: {cause}"
            raise OptikitError(f"{self._what} failed: {told} (its log has the rest)") from error
        except exceptions.RayActorError as error:
            check_raylet()
            raise WorkerDied(
                f"the actor of {self._what} ended without an answer: {error}"
            ) from None

    def end(self, grace_s: float = 10.0) -> None:
        """Kill the actor; wait for its process where it ran on this machine."""
        self._ray.kill(self._actor, no_restart=True)
        until = time.monotonic() + grace_s
        while self._pid and self.node == here() and time.monotonic() < until:
            if not _alive(self._pid):
                return
            time.sleep(0.02)


class _Runner:
    def where(self) -> tuple[int, str]:
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id()

    def run(self, task: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return task(*args)


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def cluster(address: str | None, attempts: int = 2) -> Iterator[None]:
    """Connect to ``address``, or start a local Ray and stop it again.

    A raylet that misses its 30 s start limit on a loaded machine is tried once more.

    Raises:
        OptikitError: Ray did not start, or nobody answers at ``address``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    import ray

    if ray.is_initialized():  # a test session's own cluster
        yield
        return
    stops = _action_on_sigterm()
    for attempt in range(1, attempts + 1):
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                runtime_env=_quoted_interpreter() if _is_here(address) else None,
                log_to_driver=True,
                logging_level=logging.WARNING,
                configure_logging=False,
            )
            break
        except (RuntimeError, ConnectionError, TimeoutError, OSError) as error:
            ray.shutdown()
            if attempt == attempts:
                where = f"the cluster at {address}" if address else "a local Ray"
                raise OptikitError(f"could not reach {where}: {error}") from error
    if stops is not None:
        signal.signal(signal.SIGTERM, stops)  # Ray put sys.exit in its place
    warden = None if address else _warden()
    try:
        yield
    finally:
        ray.shutdown()
        if warden is not None:
            warden.kill()
            warden.communicate()


def _warden() -> Popen[bytes] | None:
    """A process that cleans up after this one, should it be killed; see ray_warden.py."""
    try:
        raylet = raylet_pid()
    except ConnectionRefusedError:
        raylet = None
    if raylet is None:
        return None
    script = str(Path(__file__).with_name("ray_warden.py"))
    return Popen(  # noqa: S603
        [sys.executable, "-I", script, str(raylet)],
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,  # a signal to the driver's group is not for it
    )


def _action_on_sigterm() -> Any:
    """What this process does on SIGTERM; None where it cannot be set: not in the main thread."""
    main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGTERM) if main else None


def _is_here(address: str | None) -> bool:
    """Whether the Ray at an address runs on this machine: elsewhere our interpreter's path says
    nothing."""
    import ray

    host = (address or "local").rpartition("://")[2].partition(":")[0]
    return host in ("local", "localhost", "127.0.0.1", ray.util.get_node_ip_address())


def _quoted_interpreter() -> dict[str, str] | None:
    """Ray hands the interpreter of a worker that has an environment of its own (Tune's have) to a
    shell as it stands: a space in its path ends in workers that never register."""
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


def connected() -> bool:
    """Whether this process has a Ray to work with."""
    import ray

    return bool(ray.is_initialized())


def address() -> str:
    """Where another process of this machine reaches the Ray of this one."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def here() -> str:
    """Id of the node of this process."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def node_ids() -> list[str]:
    """Nodes that are alive."""
    import ray

    return [str(node["NodeID"]) for node in ray.nodes() if node["Alive"]]


def devices_by_node(accelerator: str | None = None) -> dict[str, int]:
    """GPUs of each node that has any (of the accelerator type, where one is named), by its id."""
    import ray

    label = f"accelerator_type:{accelerator}"
    return {
        str(node["NodeID"]): int(node["Resources"]["GPU"])
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("GPU", 0) >= 1
        and (not accelerator or label in node["Resources"])
    }


def accelerators_by_node() -> dict[str, tuple[str | None, int, int]]:
    """Accelerator type, GPUs and CPU cores of each node that is alive, by its id."""
    import ray

    found = {}
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        total = node["Resources"]
        kinds = [key.split(":", 1)[1] for key in total if key.startswith("accelerator_type:")]
        found[str(node["NodeID"])] = (
            kinds[0] if kinds else None,
            int(total.get("GPU", 0)),
            int(total.get("CPU", 0)),
        )
    return found


def require(cpus: float, gpus: int, accelerator: str | None, memory_bytes: int = 0) -> None:
    """Check that some node could ever serve the request: Ray itself would wait for ever.

    Raises:
        DoesNotFit: with what each node has.
    """
    import ray

    label = f"accelerator_type:{accelerator}"
    have = []
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        total = node["Resources"]
        has_cpus, has_gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
        memory = total.get("memory", 0.0)
        roomy = has_cpus >= cpus and has_gpus >= gpus and memory >= memory_bytes
        if roomy and (not accelerator or label in total):
            return
        kinds = [key.split(":", 1)[1] for key in total if key.startswith("accelerator_type:")]
        said = f"{has_cpus:g} CPUs, {has_gpus:g} GPUs {' '.join(kinds)}".strip()
        have.append(f"{said}, {memory / 2**30:.1f} GiB" if memory_bytes else said)
    wanted = f" with {memory_bytes / 2**30:.1f} GiB of memory" if memory_bytes else ""
    raise DoesNotFit(
        f"no node of the cluster can ever serve {cpus:g} CPUs and {gpus} x "
        f"{accelerator or 'GPU'}{wanted}; its nodes have: {'; '.join(have) or 'nothing'}. "
        "Choose another SKU, add such a node, or plan only (optikit plan)."
    )
