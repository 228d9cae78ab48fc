"""What the compress stage leaves: artifacts by content, candidates and how each was made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["ArtifactRef", "Candidate", "DatasetFacts", "LayerError", "Sampling"]

Sampling = Literal["uniform", "length_weighted", "stratified"]
"""How calibration texts are drawn; core/calibration.py says what each is."""


class ArtifactRef(Spec):
    """Content by digest, and where it lies now."""

    kind: Literal["model", "dataset"]
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    path: str
    size_bytes: int = Field(ge=0)
    brings_code: bool = False
    """A model whose folder holds Python code that its architecture or tokenizer needs."""


class LayerError(Spec):
    """What rounding one linear layer cost, as the library measures it."""

    layer: str
    """The module's dotted name."""
    error: float = Field(ge=0)
    """GPTQ: sum of the squared errors weighed by the inverse Hessian; comparable between candidates
    of one model and recipe, not between recipes."""


class DatasetFacts(Spec):
    """What became of the rows of the dataset."""

    rows: int = Field(ge=0)
    """Rows read."""
    usable: int = Field(ge=0)
    skipped: dict[str, int] = Field(default_factory=dict)
    """Rows left out, by reason."""
    cut: int = Field(default=0, ge=0)
    """Usable rows longer than ``calibration_tokens``; they are cut, not left out."""
    field: str | None = None
    """Field that held the text; None where all files are plain text."""


class Candidate(Spec):
    """A compressed model, or the record of why there is none."""

    id: str
    recipe: str
    model: ArtifactRef | None
    """None: this candidate could not be made."""
    error: str | None = None
    wall_s: float = 0.0
    attempts: int = 1
    peak_memory_bytes: int = 0
    """Most resident memory of the worker that made it."""
    device_peak_bytes: int = 0
    """Most accelerator memory; 0 on a CPU."""
    sampling: Sampling = "uniform"
    samples: int = 0
    sample_digest: str | None = None
    dataset: DatasetFacts | None = None
    """What became of the rows that it drew from; None: it calibrates on nothing."""
    seed: int = 0
    """Of the draw of calibration texts, and of what the library draws."""
    layer_errors: tuple[LayerError, ...] = ()
    """Empty where the library gives none."""
