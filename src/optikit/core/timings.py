"""What a load generator sees of each request, a column a fact; and what of it was known when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Timings"]

Times = NDArray[np.float64]
_DIGITS = 6


@dataclass(frozen=True)
class Timings:
    """Times in seconds after the start of the probe, shape ``(n,)``; NaN: it did not come to that.

    ``scheduled_s`` is when a request should have been sent (in a closed loop: when it was);
    latency counts from ``sent_s``, the client's own lag is ``sent_s - scheduled_s``. A request
    without ``end_s`` and without an error was still open when the probe ended.
    """

    scheduled_s: Times
    sent_s: Times
    first_token_s: Times
    end_s: Times
    prompt_tokens: NDArray[np.int64]
    """As the server counted them."""
    output_tokens: NDArray[np.int64]
    first: int
    """Requests ``first <= i < last`` are measured."""
    last: int
    errors: Mapping[int, str] = field(default_factory=dict)
    """By index of the request."""
    token_s: Times | None = None
    """Arrival of every token of every request, request after request; None: not kept."""
    token_offsets: NDArray[np.int64] | None = None
    """Shape ``(n + 1,)``: tokens of request i are ``token_s[offsets[i]:offsets[i + 1]]``."""

    def __len__(self) -> int:
        return len(self.scheduled_s)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Answered whole."""
        found = np.isfinite(self.end_s) & np.isfinite(self.first_token_s)
        if self.errors:
            found[list(self.errors)] = False
        return found

    def rounded(self) -> Timings:
        """The same to whole microseconds, which is what :meth:`rows` keeps."""
        names = ("scheduled_s", "sent_s", "first_token_s", "end_s")
        times = {name: np.round(getattr(self, name), _DIGITS) for name in names}
        tokens = None if self.token_s is None else np.round(self.token_s, _DIGITS)
        return replace(self, **times, token_s=tokens)

    def measured(self) -> Timings:
        """The measured requests alone."""
        if self.first == 0 and self.last == len(self):
            return self
        part = slice(self.first, self.last)
        tokens, offsets = self.token_s, self.token_offsets
        if tokens is not None and offsets is not None:
            tokens = tokens[offsets[self.first] : offsets[self.last]]
            offsets = offsets[self.first : self.last + 1] - offsets[self.first]
        return Timings(
            scheduled_s=self.scheduled_s[part],
            sent_s=self.sent_s[part],
            first_token_s=self.first_token_s[part],
            end_s=self.end_s[part],
            prompt_tokens=self.prompt_tokens[part],
            output_tokens=self.output_tokens[part],
            first=0,
            last=self.last - self.first,
            errors={
                index - self.first: text
                for index, text in self.errors.items()
                if self.first <= index < self.last
            },
            token_s=tokens,
            token_offsets=offsets,
        )

    def until(self, at_s: float) -> Timings:
        """What was known at a time: later tokens and ends are not there yet."""

        def known(times: Times) -> Times:
            return np.where(times <= at_s, times, np.nan)

        end = known(self.end_s)
        tokens, offsets = self.token_s, self.token_offsets
        if tokens is not None and offsets is not None:
            keep = tokens <= at_s
            offsets = np.concatenate([[0], np.cumsum(keep)])[offsets]
            tokens = tokens[keep]
        return Timings(
            scheduled_s=self.scheduled_s,
            sent_s=known(self.sent_s),
            first_token_s=known(self.first_token_s),
            end_s=end,
            prompt_tokens=np.where(np.isfinite(end), self.prompt_tokens, 0),
            output_tokens=np.where(np.isfinite(end), self.output_tokens, 0),
            first=self.first,
            last=self.last,
            errors=self.errors,
            token_s=tokens,
            token_offsets=offsets,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows for the archive, a request each; :meth:`from_rows` reads them back."""
        found = []
        names = ("scheduled_s", "sent_s", "first_token_s", "end_s")
        columns = [getattr(self, name).tolist() for name in names]
        for index, times in enumerate(zip(*columns, strict=True)):
            row: dict[str, Any] = {"index": index}
            for name, value in zip(names, times, strict=True):
                row[name] = round(value, _DIGITS) if value == value else None
            row["prompt_tokens"] = int(self.prompt_tokens[index])
            row["output_tokens"] = int(self.output_tokens[index])
            row["measured"] = self.first <= index < self.last
            if index in self.errors:
                row["error"] = self.errors[index]
            if self.token_s is not None and self.token_offsets is not None:
                part = slice(self.token_offsets[index], self.token_offsets[index + 1])
                row["token_s"] = np.round(self.token_s[part], _DIGITS).tolist()
            found.append(row)
        return found

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> Timings:
        """Timings from what :meth:`rows` gave."""

        def column(name: str) -> Times:
            values = [row[name] for row in rows]
            return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

        measured = [index for index, row in enumerate(rows) if row["measured"]]
        tokens = offsets = None
        if rows and "token_s" in rows[0]:
            tokens = np.array([t for row in rows for t in row["token_s"]], dtype=np.float64)
            offsets = np.cumsum([0, *(len(row["token_s"]) for row in rows)])
        return cls(
            scheduled_s=column("scheduled_s"),
            sent_s=column("sent_s"),
            first_token_s=column("first_token_s"),
            end_s=column("end_s"),
            prompt_tokens=np.array([row["prompt_tokens"] for row in rows], dtype=np.int64),
            output_tokens=np.array([row["output_tokens"] for row in rows], dtype=np.int64),
            first=measured[0] if measured else 0,
            last=measured[-1] + 1 if measured else 0,
            errors={i: row["error"] for i, row in enumerate(rows) if "error" in row},
            token_s=tokens,
            token_offsets=offsets,
        )
