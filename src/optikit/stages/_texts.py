"""A job's texts: some held out to compare the models on, the rest to calibrate with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optikit.adapters.tokenizer import load_tokenizer
from optikit.core.calibration import TokenStatistics, held_out, prepare
from optikit.spec.candidate import DatasetFacts
from optikit.spec.plan import Plan
from optikit.spec.record import FetchRecord
from optikit.stages.base import Tools

__all__ = ["FEWEST_HELD_OUT", "JobTexts", "texts_of"]

POOL = 2
"""Calibration texts that are left to draw from, over the size of the largest sample."""
FEWEST_HELD_OUT = 16
"""Documents below which an interval over documents says little: the texts that ship do better."""


@dataclass(frozen=True)
class JobTexts:
    """The dataset, read by the model's own tokenizer and divided."""

    calibration: tuple[str, ...]
    statistics: TokenStatistics
    """Of the calibration texts."""
    held_out: tuple[str, ...]
    """Texts that no candidate of the job calibrates on; none where the dataset is too small."""
    facts: DatasetFacts


def texts_of(tools: Tools, plan: Plan, fetched: FetchRecord) -> JobTexts | None:
    """The job's texts, the same at every call; None where the job has no dataset.

    The held-out ones are set aside before any candidate draws, so that all candidates are compared
    on texts that none of them has seen.

    Raises:
        DatasetError: no text field, no usable text, or chats for a model without chat template.
    """
    if fetched.dataset is None:
        return None
    params, gate = plan.job.flow_params, plan.job.quality
    found = tools.read_texts(
        Path(fetched.dataset.path), plan.job.dataset.text_field if plan.job.dataset else None
    )
    tokenizer = load_tokenizer(Path(fetched.model.path), plan.permit.code)
    ready = prepare(found.texts, found.chats, tokenizer, params.calibration_tokens)
    most = max(option.calibration_samples for option in plan.options)
    asked = gate.divergence_documents if gate.divergence_text == "dataset" else 0
    # a sample is a choice only from a pool that is clearly larger than it
    spare = min(asked, max(0, len(ready.texts) - POOL * most))
    enough = spare >= min(FEWEST_HELD_OUT, asked)
    aside = held_out(ready.texts, spare if enough else 0, params.calibration_seed)
    taken = set(aside)
    kept = np.array([text not in taken for text in ready.texts], dtype=bool)
    return JobTexts(
        calibration=tuple(t for t, keep in zip(ready.texts, kept, strict=True) if keep),
        statistics=ready.statistics.of(kept),
        held_out=aside,
        facts=found.facts(ready),
    )
