"""What a stage may ask of a serving engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.recipe import EngineFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["Engine", "Server"]


class Server(Protocol):
    """A server that answered one real completion."""

    endpoint: Endpoint
    startup_s: float
    """From the start of the process to the first whole completion."""
    command: Sequence[str]
    """Empty where the server is somebody else's."""
    says: Mapping[str, str]
    """What somebody else's server tells of itself; empty where the engine started it."""

    def check(self) -> None:
        """Raise if the server is gone.

        Raises:
            EngineDied: with the last lines of its log.
        """


class Engine(Protocol):
    """Starts servers in process groups of their own."""

    facts: EngineFacts

    def check(self, serving: ServingConfig, device: DeviceKind) -> None:
        """Look at the arguments without starting anything.

        Raises:
            BadInput: a flag that is not the caller's to set.
        """

    def version(self) -> str:
        """Version of the engine's package in its own environment, e.g. ``0.32.0``.

        Raises:
            EngineError: the engine's environment is missing; says how to get it.
        """

    def packages(self) -> dict[str, str]:
        """Versions of the packages in the engine's own environment, for the archive.

        Raises:
            EngineError: the engine's environment is missing; says how to get it.
        """

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
        """The full argument list of a plain server, interpreter first; empty where none is started.

        Args:
            name: what requests call the model; None: the folder's name.
        """

    def environment(self, serving: ServingConfig, device: DeviceKind) -> dict[str, str]:
        """Environment variables that the command needs."""

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
    ) -> AbstractContextManager[Server]:
        """Start a server on 127.0.0.1, wait until it answers, stop its whole group on exit.

        Args:
            model: folder of a checkpoint.
            vocab: vocabulary size, for the endpoint.
            log: file that receives stdout and stderr.
            port: None for a free one.
            start_timeout_s: deadline for the first whole completion.
            what: name of the server for the process record.
            on_start: called with the process group before the server is ready.

        Raises:
            PortInUse: somebody listens on ``port``.
            EngineStartFailed: the process ended or the deadline passed; carries the log's end.
        """
