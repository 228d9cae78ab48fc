"""What an architecture's config.json says to a quantization scheme: what it must leave, how wide.

Patterns are llm-compressor's: ``re:`` and a regular expression that must match a module's dotted
name from its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from optikit.errors import BadInput

__all__ = [
    "GROUP_SIZES",
    "bytes_per_parameter",
    "group_size",
    "ignored_modules",
    "input_widths",
    "largest_group",
]

GROUP_SIZES = (128, 64, 32)
"""Group sizes that vLLM's weight-only kernels take (Marlin: 32, 64, 128), the cheapest first."""
NARROW_ROW = 200
"""Columns of a narrow row, for schemes with one scale a row: wider rows cost less."""

_EXPERTS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_experts_per_tok",
)
_HEADS = ("lm_head", "embed_out")
_ROUTERS = ("gate", "router", "gating", r"shared_experts?_gate")
_VISION = (
    r"vision\w*",
    "visual",
    "vit",
    r"image\w*",
    "embed_vision",
    "multi_modal_projector",
    "mm_projector",
    "connector",
    "resampler",
    "merger",
    "mlp1",
)
_AUDIO = (r"audio\w*", "embed_audio", r"speech\w*")
_NEXT_TOKENS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")


def bytes_per_parameter(
    bits: int, group: int | None = None, scale_bits: int = 16, zero_bits: int = 0
) -> float:
    """Bytes that a weight takes with its share of scale and zero point.

    Args:
        bits: of the weight.
        group: weights that share a scale; None: a row of ``NARROW_ROW`` columns does.

    >>> bytes_per_parameter(4, 128)
    0.515625
    >>> bytes_per_parameter(4, 16, scale_bits=8)
    0.5625
    """
    return (bits + (scale_bits + zero_bits) / (group or NARROW_ROW)) / 8


def ignored_modules(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Modules that no recipe quantizes, as patterns.

    The output head, whose error goes straight into the logits; routers and gates of experts, where
    a small error sends a token to another expert; vision and audio towers with their projectors,
    which calibration on text never sees; heads that draft tokens; linear attention, for whose
    short projections engines have no quantized kernels.

    Args:
        config: the parsed config.json.

    >>> ignored_modules({"model_type": "llama"})
    ('re:(.*\\\\.)?(lm_head|embed_out)(\\\\..*)?$',)
    """
    text = _text(config)
    patterns = [_below(_HEADS)]
    if any(text.get(key) for key in _EXPERTS):
        patterns.append(_below(_ROUTERS))
    if any("vision" in key or "image" in key or key == "visual" for key in config):
        patterns.append(_below(_VISION))
    if any("audio" in key for key in config):
        patterns.append(_below(_AUDIO))
    drafted = next((text[key] for key in _NEXT_TOKENS if text.get(key)), 0)
    if drafted:
        patterns.append(_below((r"mtp\w*",)))
        layers = text.get("num_hidden_layers")
        if _is_count(drafted) and _is_count(layers):  # DeepSeek numbers them after the others
            numbers = [str(layers + extra) for extra in range(drafted)]
            patterns.append(_below([rf"layers\.{number}" for number in numbers]))
    kinds = text.get("layer_types")
    if isinstance(kinds, list | tuple) and "linear_attention" in kinds:
        patterns.append(_below(("linear_attn",)))
    return tuple(patterns)


def group_size(config: Mapping[str, Any]) -> int:
    """The largest of ``GROUP_SIZES`` that divides the input width of every quantized layer.

    Tensor parallelism splits the inputs of some layers, and no group may straddle two devices;
    which degrees that leaves, core/fit.py says.

    Args:
        config: the parsed config.json.

    Raises:
        BadInput: none divides them all (says the widths), or the widths are not in the file.

    >>> group_size({"hidden_size": 576, "num_attention_heads": 9, "intermediate_size": 1536})
    64
    """
    widths = input_widths(config)
    size = largest_group(widths.values())
    if size is not None:
        return size
    told = ", ".join(f"{name} = {width}" for name, width in widths.items())
    raise BadInput(
        f"no group of {', '.join(map(str, GROUP_SIZES))} weights divides the inputs of every "
        f"linear layer ({told}); choose a recipe with a scale a row, such as int_w8a8"
    )


def largest_group(widths: Iterable[int]) -> int | None:
    """The largest of ``GROUP_SIZES`` that divides every width, None where none does."""
    given = tuple(widths)
    return next((size for size in GROUP_SIZES if all(w % size == 0 for w in given)), None)


def input_widths(config: Mapping[str, Any]) -> dict[str, int]:
    """Columns of the linear layers of the blocks, by where config.json gives them.

    Dense blocks, mixtures of experts, and attention with low-rank queries and keys (DeepSeek).

    Raises:
        BadInput: keys that are missing, or no whole numbers above 0.
    """
    text = _text(config)
    widths: dict[str, Any] = {"hidden_size": text.get("hidden_size")}
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    if text.get("kv_lora_rank"):
        widths["kv_lora_rank"] = text["kv_lora_rank"]
        if text.get("q_lora_rank"):
            widths["q_lora_rank"] = text["q_lora_rank"]
        widths["num_attention_heads * v_head_dim"] = _product(heads, text.get("v_head_dim"))
    elif text.get("head_dim"):
        widths["num_attention_heads * head_dim"] = _product(heads, text["head_dim"])
    elif _is_count(heads) and _is_count(hidden):
        widths["num_attention_heads * head_dim"] = heads * (hidden // heads)
    else:
        widths["num_attention_heads"] = heads
    experts = text.get("moe_intermediate_size")
    if experts:
        widths["moe_intermediate_size"] = experts
        if text.get("shared_expert_intermediate_size"):
            widths["shared_expert_intermediate_size"] = text["shared_expert_intermediate_size"]
        if text.get("n_shared_experts"):
            widths["n_shared_experts * moe_intermediate_size"] = _product(
                text["n_shared_experts"], experts
            )
    if not experts or _has_dense_blocks(text):
        widths["intermediate_size"] = text.get("intermediate_size")
    wrong = [f"{name} = {width!r}" for name, width in widths.items() if not _is_count(width)]
    if wrong:
        raise BadInput(
            f"config.json does not give the widths of its linear layers: {', '.join(wrong)}; each "
            "must be a whole number above 0. Choose a recipe with a scale a row, such as int_w8a8"
        )
    return widths


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the language model; multimodal files nest it."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) and "hidden_size" not in config else config


def _has_dense_blocks(text: Mapping[str, Any]) -> bool:
    """Whether some blocks of a mixture of experts have an ordinary MLP."""
    step = text.get("decoder_sparse_step")
    return bool(
        text.get("first_k_dense_replace")
        or text.get("mlp_only_layers")
        or (_is_count(step) and step > 1)
    )


def _below(names: tuple[str, ...] | list[str]) -> str:
    """Matches modules of these names, and everything inside them."""
    return rf"re:(.*\.)?({'|'.join(names)})(\..*)?$"


def _product(one: Any, other: Any) -> Any:
    return one * other if _is_count(one) and _is_count(other) else None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
