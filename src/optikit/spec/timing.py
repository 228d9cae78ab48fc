"""What a load generator sees of each request."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PlannedRequest", "RequestTiming"]


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request to send.

    ``at_s``: seconds after the start of the probe (open loop); ignored in a closed loop.
    ``prompt``: token ids of the served model.
    """

    index: int
    at_s: float
    prompt: tuple[int, ...]
    output_tokens: int


@dataclass(slots=True)
class RequestTiming:
    """Times in seconds after the start of the probe; None: it did not come to that.

    ``scheduled_s`` is when the request should have been sent (in a closed loop: when it was);
    latency counts from ``sent_s``, the client's own lag is ``sent_s - scheduled_s``.
    """

    index: int
    scheduled_s: float
    sent_s: float | None = None
    first_token_s: float | None = None
    end_s: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Answered whole."""
        return self.error is None and self.end_s is not None and self.first_token_s is not None
