from typing import Any

import pytest

from optikit.core.shape import shape_from_config
from optikit.errors import BadInput

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}


def test_absent_keys_have_the_formats_meaning() -> None:
    shape = shape_from_config(CONFIG, "here")
    assert (shape.kv_heads, shape.head_dim, shape.tied_embeddings) == (4, 16, False)
    assert shape.source == "here"
    assert shape.architecture == "LlamaForCausalLM"


def test_present_keys_win_over_defaults() -> None:
    shape = shape_from_config(
        {**CONFIG, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True}, "here"
    )
    assert (shape.kv_heads, shape.head_dim, shape.tied_embeddings) == (2, 32, True)


def test_null_head_dim_means_the_default() -> None:
    assert shape_from_config({**CONFIG, "head_dim": None}, "here").head_dim == 16


@pytest.mark.parametrize(
    ("extra", "biased"),
    [({}, False), ({"attention_bias": True}, True), ({"model_type": "qwen2"}, True)],
)
def test_attention_bias(extra: dict[str, Any], biased: bool) -> None:
    assert shape_from_config({**CONFIG, **extra}, "here").qkv_bias is biased


def test_a_multimodal_config_is_read_at_its_text_model() -> None:
    outer = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "text_config": {**CONFIG, "architectures": None},
    }
    shape = shape_from_config(outer, "here")
    assert shape.hidden == 64
    assert shape.architecture == "Mistral3ForConditionalGeneration"


def test_all_missing_keys_are_named() -> None:
    broken = {k: v for k, v in CONFIG.items() if k not in ("hidden_size", "vocab_size")}
    with pytest.raises(BadInput, match=r"hidden_size, vocab_size are missing"):
        shape_from_config(broken, "here")


@pytest.mark.parametrize("value", [0, -1, "64", 1.5, True])
def test_a_number_that_is_none_is_named(value: Any) -> None:
    with pytest.raises(BadInput, match=r"here: vocab_size = "):
        shape_from_config({**CONFIG, "vocab_size": value}, "here")


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(BadInput, match="mixture of experts"):
        shape_from_config({**CONFIG, "num_local_experts": 8}, "here")
