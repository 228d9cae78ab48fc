"""What the service answers instead of what was asked: every error as an HTTP status and a body."""

from __future__ import annotations

import math
from typing import Any

from optikit.errors import BadInput, OptikitError

__all__ = [
    "Busy",
    "Conflict",
    "NotAllowed",
    "NotFound",
    "Refused",
    "TooLarge",
    "TooMany",
    "body_of",
    "headers_of",
    "status_of",
]


class Refused(OptikitError):
    """An answer other than the asked one."""

    status = 400


class NotAllowed(Refused):
    """No token, or one that is nobody's."""

    status = 401


class NotFound(Refused):
    """There is none, or none of the asking team: which of the two is not told."""

    status = 404


class Conflict(Refused):
    """The state of the job, or an earlier request, is in the way."""

    status = 409


class TooLarge(Refused):
    """More bytes, or deeper nesting, than is taken."""

    status = 413


class TooMany(Refused):
    """More requests, or more live jobs, than a team may have."""

    status = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


class Busy(Refused):
    """A request that did not come to its end in time."""

    status = 408


def status_of(error: OptikitError) -> int:
    """4xx for what the asker can mend, 503 for what the service cannot do now."""
    if isinstance(error, Refused):
        return error.status
    return 422 if isinstance(error, BadInput) else 503


def headers_of(error: OptikitError) -> dict[str, str]:
    """What belongs to the status: how to come in, when to come again."""
    if isinstance(error, NotAllowed):
        return {"WWW-Authenticate": 'Bearer realm="optikit"'}
    if isinstance(error, TooMany):
        return {"Retry-After": str(error.retry_after_s)}
    return {"Retry-After": "5"} if status_of(error) == 503 else {}


def body_of(kind: str, message: str) -> dict[str, Any]:
    """The body of every answer that is an error."""
    return {"error": {"kind": kind, "message": message}}
