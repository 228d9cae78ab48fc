"""What the evaluate stage may ask of an evaluation library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from optikit.core.divergence import DocumentLogprobs
from optikit.spec.endpoint import Endpoint
from optikit.spec.permit import ANYTHING, Permit
from optikit.spec.quality import ItemScores

__all__ = ["Evaluator", "LogprobReader", "TokenizedTexts"]


class Evaluator(Protocol):
    """Scores a served model item by item."""

    name: str

    def version(self) -> str:
        """Version of the library behind it."""

    def check(self, tasks: Sequence[str], permit: Permit = ANYTHING) -> None:
        """Cheap look at the task names, before any work.

        Raises:
            BadInput: a task that is neither shipped, a file, nor known to the library.
            UnsafeInput: a file that would run code, or that leads outside the roots.
        """

    def identity(self, tasks: Sequence[str], permit: Permit = ANYTHING) -> str:
        """What the scores depend on beside the model: library, tasks and their data, as a digest.

        Raises:
            BadInput: a task that cannot be read.
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
        permit: Permit = ANYTHING,
    ) -> tuple[ItemScores, ...]:
        """Score the model behind ``endpoint``; the items' order is the same at every call.

        Args:
            tokenizer: folder with the model's tokenizer.
            tasks: shipped names, library names, or paths of task YAML files.
            context: tokens that the server takes; longer items are cut on the left.
            limit: first items of each task; None: all.
            work: folder for the library's own samples and results.
            permit: where files of tasks may lie, and whether the tokenizer's own code may be run.

        Raises:
            BadInput: a task that cannot be loaded.
            EngineError: the endpoint gave no whole answer.
        """


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts as token ids, and what became of those that did not fit."""

    documents: tuple[tuple[int, ...], ...]
    """Two tokens or more each, in the texts' order."""
    cut: int
    """Documents of which only the beginning is kept."""
    left_out: int
    """Texts of fewer than two tokens: nothing in them can be predicted."""


class LogprobReader(Protocol):
    """Reads a served model's teacher-forced log-probabilities; core/divergence.py compares them."""

    def texts(self) -> tuple[str, ...]:
        """The shipped held-out documents, for a job that has no text of its own."""

    def tokenize(
        self, tokenizer: Path, texts: Sequence[str], *, max_tokens: int, code: bool = False
    ) -> TokenizedTexts:
        """Tokenize once, with the baseline's tokenizer; the same ids go to every model.

        Args:
            tokenizer: the baseline's model folder.
            max_tokens: at most the served context less one, since the server generates a token.
            code: the model's own code may be run.

        Raises:
            BadInput: no tokenizer in the folder, or ``max_tokens`` below 2.
        """

    def measure(
        self, endpoint: Endpoint, documents: Sequence[Sequence[int]], *, top_k: int
    ) -> tuple[DocumentLogprobs, ...]:
        """Each document's log-probabilities, in order.

        Call it from a thread that runs no event loop.

        Raises:
            BadInput: the endpoint takes no token ids, or gives fewer than ``top_k``.
            EngineError: the endpoint gave no whole answer.
        """

    def save(self, path: Path, logprobs: Sequence[DocumentLogprobs]) -> None:
        """Write them as .npz, whole or not at all."""

    def load(self, path: Path) -> tuple[DocumentLogprobs, ...]:
        """What ``save`` wrote; nothing in the file is run (no pickle).

        Raises:
            ArchiveError: the file cannot be read, or is not whole.
        """
