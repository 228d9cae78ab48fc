"""What the evaluate stage may ask of an evaluation library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from optikit.spec.endpoint import Endpoint
from optikit.spec.record import ItemScores

__all__ = ["Evaluator"]


class Evaluator(Protocol):
    """Scores a served model item by item."""

    name: str

    def version(self) -> str:
        """Version of the library behind it."""

    def check(self, tasks: Sequence[str]) -> None:
        """Cheap look at the task names, before any work.

        Raises:
            BadInput: a task that is neither shipped, a file, nor known to the library.
        """

    def score(
        self,
        endpoint: Endpoint,
        tokenizer: Path,
        tasks: Sequence[str],
        *,
        context: int,
        limit: int | None,
        work: Path,
    ) -> tuple[ItemScores, ...]:
        """Score the model behind ``endpoint``; the items' order is the same at every call.

        Args:
            tokenizer: folder with the model's tokenizer.
            tasks: shipped names, library names, or paths of task YAML files.
            context: tokens that the server takes; longer items are cut on the left.
            limit: first items of each task; None: all.
            work: folder for the library's own samples and results.

        Raises:
            BadInput: a task that cannot be loaded.
            EngineError: the endpoint gave no whole answer.
        """
