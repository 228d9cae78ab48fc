"""What a run has seen so far, in columns; a snapshot of it is cheap."""

from __future__ import annotations

import math
from array import array

import numpy as np
from numpy.typing import NDArray

from optikit.core.load import Load
from optikit.core.timings import Timings
from optikit.loadgen._answer import Answer

__all__ = ["Record"]


class Record:
    """Grows while the requests of ``load`` run. All times handed in are of one clock, in seconds.

    ``start`` is the clock's time at which the run began; it must be set before the first request.
    """

    def __init__(self, load: Load, keep_tokens: bool, *, closed: bool) -> None:
        n = len(load)
        self.keep_tokens = keep_tokens
        self.start = 0.0
        self._load = load
        self._scheduled = np.full(n, math.nan) if closed else load.at_s.astype(np.float64)
        self._sent = np.full(n, math.nan)
        self._first = np.full(n, math.nan)
        self._end = np.full(n, math.nan)
        self._prompt_tokens = np.zeros(n, dtype=np.int64)
        self._output_tokens = np.zeros(n, dtype=np.int64)
        self._tokens: list[array[float]] = [array("d")] * n
        self._errors: dict[int, str] = {}
        self._open: dict[int, Answer] = {}

    def schedule(self, index: int, at: float) -> None:
        """A closed loop came to request ``index``."""
        self._scheduled[index] = at - self.start

    def begin(self, index: int, answer: Answer, at: float) -> None:
        """The request is about to be written; ``answer`` will fill up."""
        self._sent[index] = at - self.start
        self._open[index] = answer

    def end(self, index: int, error: str | None) -> None:
        """The answer is whole, or there will be none."""
        answer = self._open.pop(index)
        self._copy(index, answer)
        self._end[index] = answer.end_s - self.start
        self._prompt_tokens[index] = answer.prompt_tokens
        self._output_tokens[index] = answer.output_tokens
        if error is not None:
            self._errors[index] = error

    def fail_open(self, error: str) -> None:
        """Every measured request that did not end gets ``error``."""
        for index in range(self._load.first, self._load.last):
            if math.isnan(self._end[index]):
                self._errors.setdefault(index, error)

    def _copy(self, index: int, answer: Answer) -> None:
        self._first[index] = answer.first_s - self.start
        self._tokens[index] = answer.times

    def timings(self) -> Timings:
        """All that is known now; it does not change any more."""
        for index, answer in self._open.items():
            self._copy(index, answer)
        tokens, offsets = self._kept()
        return Timings(
            scheduled_s=self._scheduled.copy(),
            sent_s=self._sent.copy(),
            first_token_s=self._first.copy(),
            end_s=self._end.copy(),
            prompt_tokens=self._prompt_tokens.copy(),
            output_tokens=self._output_tokens.copy(),
            first=self._load.first,
            last=self._load.last,
            errors=dict(self._errors),
            token_s=tokens,
            token_offsets=offsets,
        )

    def _kept(self) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
        if not self.keep_tokens:
            return None, None
        offsets = np.zeros(len(self._tokens) + 1, dtype=np.int64)
        np.cumsum([len(times) for times in self._tokens], out=offsets[1:])
        joined = b"".join(times.tobytes() for times in self._tokens)
        return np.frombuffer(joined, dtype=np.float64) - self.start, offsets
