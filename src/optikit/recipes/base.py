"""What the compress stage may ask of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from optikit.spec.candidate import LayerError
from optikit.spec.recipe import RecipeFacts

__all__ = ["Compressed", "Recipe"]


@dataclass(frozen=True)
class Compressed:
    """What a recipe can say of the checkpoint that it wrote."""

    layer_errors: tuple[LayerError, ...] = ()
    device_peak_bytes: int = 0
    """Most accelerator memory that was in use; 0 on a CPU."""


class Recipe(Protocol):
    """Turns a checkpoint into a smaller one that the engine opens."""

    facts: RecipeFacts

    def compress(
        self,
        model: Path,
        out: Path,
        samples: Sequence[str],
        *,
        max_tokens: int,
        seed: int,
        memory_bytes: int | None = None,
        code: bool = False,
    ) -> Compressed:
        """Write the compressed checkpoint, tokenizer included, to the new folder ``out``.

        Args:
            model: folder of the uncompressed checkpoint.
            out: does not exist yet; the caller renames it when this returns.
            samples: calibration texts (empty where the recipe needs none).
            max_tokens: longer samples are cut to this many tokens.
            seed: of whatever the library draws.
            memory_bytes: most memory the calling process may hold; what does not fit is read from
                disk layer by layer. None: no bound was set.
            code: the model's own code may be run, and goes with the compressed checkpoint. Given
                only where it is true.

        Raises:
            BadInput: the recipe cannot be applied to this architecture.
            DiskFull: the checkpoint did not fit the disk.
        """
