"""config.json -> ModelShape: the facts of a checkpoint that memory and time depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optikit.errors import BadInput
from optikit.spec.model import ModelShape

__all__ = ["shape_from_config"]

_NEEDED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_QKV_BIAS_TYPES = frozenset({"qwen2"})
"""Model types whose code always has biases on queries, keys and values; no key says so."""


def shape_from_config(config: Mapping[str, Any], source: str) -> ModelShape:
    """The shape of a dense decoder-only transformer, from its Hugging Face ``config.json``.

    A multimodal config is read at its ``text_config``. Absent keys get the meaning they have in
    the format: ``num_key_value_heads`` = ``num_attention_heads``, ``head_dim`` = hidden / heads,
    embeddings not tied.

    Args:
        config: the parsed file.
        source: where it came from, for messages and for ``ModelShape.source``.

    Raises:
        BadInput: keys that are missing or no whole numbers above 0, all named; a mixture of
            experts.

    >>> shape_from_config(
    ...     {
    ...         "architectures": ["LlamaForCausalLM"],
    ...         "hidden_size": 64,
    ...         "num_hidden_layers": 2,
    ...         "num_attention_heads": 4,
    ...         "num_key_value_heads": 2,
    ...         "intermediate_size": 128,
    ...         "vocab_size": 256,
    ...         "max_position_embeddings": 512,
    ...     },
    ...     "example",
    ... ).head_dim
    16
    """
    text = config.get("text_config")
    facts = text if isinstance(text, Mapping) and "hidden_size" not in config else config
    missing = [key for key in _NEEDED if facts.get(key) is None]
    if missing:
        raise BadInput(
            f"{source} does not describe a decoder-only transformer: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; give a model folder in Hugging Face "
            "format"
        )
    experts = next((key for key in _EXPERTS if facts.get(key)), None)
    if experts is not None:
        raise BadInput(
            f"{source} describes a mixture of experts ({experts} = {facts[experts]}); only dense "
            "models can be planned"
        )
    numbers = {key: facts[key] for key in _NEEDED}
    heads = facts["num_attention_heads"]
    kv_heads = facts.get("num_key_value_heads")
    numbers["num_key_value_heads"] = heads if kv_heads is None else kv_heads
    if facts.get("head_dim") is not None:
        numbers["head_dim"] = facts["head_dim"]
    wrong = [f"{key} = {value!r}" for key, value in numbers.items() if not _is_count(value)]
    if wrong:
        raise BadInput(f"{source}: {', '.join(wrong)}; each must be a whole number above 0")
    head_dim = numbers.get("head_dim", facts["hidden_size"] // heads)
    if head_dim < 1:
        raise BadInput(
            f"{source}: hidden_size = {facts['hidden_size']} is less than num_attention_heads = "
            f"{heads}; give head_dim, or correct the file"
        )
    names = config.get("architectures") or facts.get("architectures")
    kind = str(facts.get("model_type") or config.get("model_type") or "unknown")
    return ModelShape(
        architecture=str(names[0]) if isinstance(names, list) and names else kind,
        layers=facts["num_hidden_layers"],
        hidden=facts["hidden_size"],
        heads=heads,
        kv_heads=numbers["num_key_value_heads"],
        head_dim=head_dim,
        intermediate=facts["intermediate_size"],
        vocab=facts["vocab_size"],
        max_context=facts["max_position_embeddings"],
        tied_embeddings=bool(facts.get("tie_word_embeddings", config.get("tie_word_embeddings"))),
        qkv_bias=bool(facts.get("attention_bias")) or kind in _QKV_BIAS_TYPES,
        source=source,
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
