"""Timings made up by hand: what tests of the measuring core start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optikit.core.timings import Timings

NAN = float("nan")


def timings(
    at: Sequence[float] | NDArray[np.float64],
    e2e: float | Sequence[float] | NDArray[np.float64] = 1.0,
    *,
    ttft: float | Sequence[float] | NDArray[np.float64] = 0.2,
    lag: float | Sequence[float] | NDArray[np.float64] = 0.0,
    prompt: int = 10,
    output: int | Sequence[int] = 5,
    errors: Mapping[int, str] | None = None,
    first: int = 0,
    last: int | None = None,
    tokens: Sequence[Sequence[float]] | None = None,
) -> Timings:
    """Requests due at ``at``, sent ``lag`` later; all in seconds."""
    scheduled = np.asarray(at, dtype=np.float64)
    n = len(scheduled)
    sent = scheduled + np.broadcast_to(lag, n)
    more: dict[str, Any] = {}
    if tokens is not None:
        more["token_s"] = np.array([t for row in tokens for t in row], dtype=np.float64)
        more["token_offsets"] = np.cumsum([0, *map(len, tokens)])
    return Timings(
        scheduled_s=scheduled,
        sent_s=sent,
        first_token_s=sent + np.broadcast_to(ttft, n),
        end_s=sent + np.broadcast_to(e2e, n),
        prompt_tokens=np.full(n, prompt, dtype=np.int64),
        output_tokens=np.array(np.broadcast_to(output, n), dtype=np.int64),
        first=first,
        last=n if last is None else last,
        errors=errors or {},
        **more,
    )
