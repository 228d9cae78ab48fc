"""What a rate search may ask of a load generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from optikit.core.load import Load
from optikit.core.timings import Timings
from optikit.spec.endpoint import Endpoint

__all__ = ["LoadGenerator", "Watch"]

Watch = Callable[[Timings], bool]
"""Looks at what is known so far; True: the verdict is clear, stop the probe."""


class LoadGenerator(Protocol):
    """Sends requests and writes down when what happened."""

    name: str

    def clock(self) -> float:
        """Seconds, monotonic, of the time in which ``run`` takes place."""

    def run(
        self,
        endpoint: Endpoint,
        load: Load,
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
        watch: Watch | None = None,
        watch_every: int = 32,
        keep_tokens: bool = False,
    ) -> Timings:
        """Send all requests; what was seen of each, in the order of ``load``.

        The run ends when every measured request has ended; requests behind them that are still
        open are dropped, and no error.

        Args:
            concurrency: None: open loop, each request is sent at its ``at_s`` and never waits for
                an answer. Else: closed loop, that many are in flight and ``at_s`` is ignored.
            timeout_s: deadline of the whole run; measured requests that did not end by then carry
                an error.
            watch: asked after every ``watch_every`` requests that ended; True ends the run, and
                requests that are open then are no errors.
            watch_every: see ``watch``.
            keep_tokens: also keep the arrival of every token (``Timings.token_s``).

        A request that fails is an entry of ``errors``, never an exception.
        """
