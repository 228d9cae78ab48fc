"""Which calibration texts are used: a seeded uniform sample, known by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optikit.errors import DatasetError

__all__ = ["Sample", "choose_samples"]


@dataclass(frozen=True)
class Sample:
    """Calibration texts in the order they are used."""

    texts: tuple[str, ...]
    digest: str
    """SHA-256 over the texts, each ended by a zero byte."""


def choose_samples(texts: Sequence[str], count: int, seed: int) -> Sample:
    """``count`` texts drawn uniformly without replacement.

    Raises:
        DatasetError: there are fewer texts than asked.
    """
    if len(texts) < count:
        raise DatasetError(
            f"dataset: asked {count} calibration samples, found {len(texts)} usable texts. "
            f"Add text, or set flow_params.calibration_samples to at most {len(texts)}."
        )
    chosen = np.random.default_rng(seed).choice(len(texts), size=count, replace=False)
    picked = tuple(texts[int(index)] for index in chosen)
    whole = hashlib.sha256()
    for text in picked:
        whole.update(text.encode() + b"\0")
    return Sample(picked, f"sha256:{whole.hexdigest()}")
