"""No compression: the model as it is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optikit.recipes._whole import whole
from optikit.recipes.base import Compressed
from optikit.spec.recipe import RecipeFacts


@dataclass(frozen=True)
class NoCompression:
    """Copies the checkpoint."""

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
        """As recipes/base.py."""
        with whole(out, "the copy starts again"):
            shutil.copytree(model, out, dirs_exist_ok=True)
        return Compressed()


RECIPE = NoCompression(
    facts=RecipeFacts(
        name="none",
        summary="the model as it is",
        scheme="none",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=2.0,
        compute_dtype="own",
    )
)
