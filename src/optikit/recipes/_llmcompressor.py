"""The one place that speaks to llm-compressor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optikit.errors import BadInput, OptikitError
from optikit.spec.recipe import RecipeFacts

__all__ = ["OneShot"]

IGNORE = ("lm_head",)
"""The output head stays at the model's dtype: its error goes straight into the logits."""


@dataclass(frozen=True)
class Step:
    """One modifier of llm-compressor by name, with its arguments."""

    modifier: str
    arguments: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class OneShot:
    """A recipe that one call of llm-compressor's ``oneshot`` carries out."""

    facts: RecipeFacts
    steps: tuple[Step, ...]

    def compress(
        self, model: Path, out: Path, samples: Sequence[str], *, max_tokens: int, seed: int
    ) -> None:
        """As recipes/base.py: ``out`` holds a whole checkpoint when this returns."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on disk; nothing is looked up
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            import torch
            from llmcompressor import oneshot
            from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
        except ImportError as error:
            raise OptikitError(
                f"the compress stage needs llm-compressor ({error}); "
                "make setup, or: pip install 'optikit[compress]'"
            ) from error
        set_seed(seed)
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        network = AutoModelForCausalLM.from_pretrained(
            model, dtype="auto", trust_remote_code=False, low_cpu_mem_usage=True
        )
        if not torch.cuda.is_available():
            network = network.float()  # half precision is emulated on a CPU
        arguments: dict[str, Any] = {
            "model": network,
            "tokenizer": tokenizer,
            "recipe": [_modifier(step) for step in self.steps],
        }
        if self.facts.needs_calibration:
            arguments |= {
                "dataset": _rows(tokenizer, samples, max_tokens),
                "num_calibration_samples": len(samples),
                "max_seq_length": max_tokens,
                "shuffle_calibration_samples": False,
            }
        oneshot(**arguments)
        if not torch.cuda.is_available():
            network = network.to(torch.bfloat16)
        network.save_pretrained(out, save_compressed=True)
        tokenizer.save_pretrained(out)
        for name in ("LICENSE", "README.md"):
            if (model / name).exists():
                shutil.copy(model / name, out / name)


def _rows(tokenizer: Any, samples: Sequence[str], max_tokens: int) -> Any:
    from datasets import Dataset

    rows = [
        tokenizer(text, truncation=True, max_length=max_tokens, padding=False) for text in samples
    ]
    if any(len(row["input_ids"]) == 0 for row in rows):
        raise BadInput("a calibration sample has no tokens; remove it from the dataset")
    return Dataset.from_list(
        [{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows]
    )


def _modifier(step: Step) -> Any:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    kinds = {
        kind.__name__: kind for kind in (GPTQModifier, QuantizationModifier, SmoothQuantModifier)
    }
    return kinds[step.modifier](**dict(step.arguments))
