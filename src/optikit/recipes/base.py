"""What the compress stage may ask of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from optikit.spec.recipe import RecipeFacts

__all__ = ["Recipe"]


class Recipe(Protocol):
    """Turns a checkpoint into a smaller one that the engine opens."""

    facts: RecipeFacts

    def compress(
        self, model: Path, out: Path, samples: Sequence[str], *, max_tokens: int, seed: int
    ) -> None:
        """Write the compressed checkpoint, tokenizer included, to the new folder ``out``.

        Args:
            model: folder of the uncompressed checkpoint.
            out: does not exist yet; the caller renames it when this returns.
            samples: calibration texts (empty where the recipe needs none).
            max_tokens: longer samples are cut to this many tokens.
            seed: of whatever the library draws.

        Raises:
            BadInput: the recipe cannot be applied to this architecture.
        """
