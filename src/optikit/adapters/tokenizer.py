"""A model's tokenizer and chat template, by the one importer of transformers.

Recipes need more of the library than a tokenizer: they ask ``transformers()`` for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from optikit.adapters.jinja2 import template_error
from optikit.core.calibration import TokenStatistics
from optikit.core.chats import Chat
from optikit.errors import BadInput, DatasetError, OptikitError

__all__ = ["ModelTokenizer", "load_tokenizer", "transformers"]

_BATCH = 256
_DAY = datetime(2025, 1, 1)
"""What templates that print the date are told: the same seed gives the same text on any day."""


def transformers() -> Any:
    """The library.

    Raises:
        OptikitError: it is not installed.
    """
    # read once, when torch is loaded: a spinning thread starves whatever else runs on the machine
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import transformers
    except ImportError as error:
        raise OptikitError(
            f"reading a model's tokenizer needs transformers ({error}); "
            "make setup, or: pip install 'optikit[compress]'"
        ) from error
    return transformers


def load_tokenizer(model: Path, code: bool = False) -> ModelTokenizer:
    """The tokenizer of a model folder; no hub is asked.

    Args:
        code: code that the folder brings may be run; a tokenizer that needs it is else refused.

    Raises:
        BadInput: the folder has no tokenizer that transformers opens.
        OptikitError: transformers is not installed.
    """
    try:
        loaded = transformers().AutoTokenizer.from_pretrained(
            model, trust_remote_code=code, local_files_only=True
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise BadInput(
            f"the tokenizer in {model} cannot be opened: {error}. Give a model folder with its "
            "tokenizer files (tokenizer.json, tokenizer_config.json)"
        ) from error
    return ModelTokenizer(loaded, model)


class ModelTokenizer:
    """Renders chats and counts tokens as the compressed model's own serving will."""

    def __init__(self, tokenizer: Any, model: Path) -> None:
        self._tokenizer = tokenizer
        self._model = model
        first = tokenizer("a", verbose=False)["input_ids"][:1]
        self._bos = (
            str(tokenizer.bos_token)
            if tokenizer.bos_token and first == [tokenizer.bos_token_id]
            else ""
        )

    def render(self, chat: Chat) -> str:
        """The chat in the model's own template, without a prompt for one more answer.

        Where the tokenizer puts a beginning-of-text token before every text, the template's own is
        taken off: a recipe tokenizes what it is given, and there must be one. Templates run in the
        sandbox of transformers; one that prints today's date prints 1 January 2025.

        Raises:
            DatasetError: the model has no chat template.
            ValueError: the template refuses this chat.
        """
        if self._tokenizer.chat_template is None:
            raise DatasetError(
                f"dataset: its rows are chats, and the model in {self._model} has no chat template "
                "(chat_template in tokenizer_config.json, or chat_template.jinja). Name a field of "
                "plain text in dataset.text_field, give a dataset of plain text, or use the "
                "model's instruction-tuned version"
            )
        refusal = template_error()
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in chat.messages],
                tools=[dict(tool) for tool in chat.tools] or None,
                tokenize=False,
                add_generation_prompt=False,
                strftime_now=_DAY.strftime,
            )
        except (refusal, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        return str(text).removeprefix(self._bos)

    def encode(self, texts: Iterable[str], max_tokens: int) -> Iterable[list[int]]:
        """Token ids of each text, special tokens included, cut to ``max_tokens``."""
        rest = iter(texts)
        while batch := list(islice(rest, _BATCH)):
            rows = self._tokenizer(
                batch,
                truncation=True,
                max_length=max_tokens,
                padding=False,
                return_attention_mask=False,
                verbose=False,
            )["input_ids"]
            yield from ([int(token) for token in row] for row in rows)

    def measure(self, texts: Sequence[str], max_tokens: int) -> TokenStatistics:
        """Tokens of each text (up to one more than ``max_tokens``), and how many differ."""
        rows = self.encode(texts, max_tokens + 1)  # one more tells which are cut
        counts = [(len(row), len(set(row[:max_tokens]))) for row in rows]
        both = np.array(counts, dtype=np.int64).reshape(-1, 2)
        return TokenStatistics(both[:, 0], both[:, 1], max_tokens)
