"""What a rate search may ask of a load generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from optikit.spec.endpoint import Endpoint
from optikit.spec.timing import PlannedRequest, RequestTiming

__all__ = ["LoadGenerator"]


class LoadGenerator(Protocol):
    """Sends requests and writes down when what happened."""

    name: str

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[PlannedRequest],
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
    ) -> list[RequestTiming]:
        """Send all requests; one timing a request, in the order of ``requests``.

        Args:
            concurrency: None: open loop, each request is sent at its ``at_s`` and never waits for
                an answer. Else: closed loop, that many are in flight and ``at_s`` is ignored.
            timeout_s: deadline of the whole run; requests that did not end by then carry an error.

        A request that fails is a timing with ``error``, never an exception.
        """
