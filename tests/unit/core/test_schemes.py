from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.schemes import (
    GROUP_SIZES,
    bytes_per_parameter,
    group_size,
    ignored_modules,
    input_widths,
)
from optikit.errors import BadInput

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
}
QWEN_MOE = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "head_dim": 128,
    "intermediate_size": 6100,  # of no layer: all blocks are experts
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
DEEPSEEK = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "v_head_dim": 128,
    "num_hidden_layers": 61,
    "num_nextn_predict_layers": 1,
}
VISION = {"model_type": "llava", "text_config": LLAMA, "vision_config": {"hidden_size": 1024}}
HYBRID = {**LLAMA, "layer_types": ["linear_attention", "full_attention"]}
AUDIO = {"text_config": LLAMA, "audio_config": {}}

QUANTIZED = (
    "model.layers.3.self_attn.q_proj",
    "model.layers.11.self_attn.o_proj",
    "model.layers.0.mlp.gate_proj",
    "model.layers.0.mlp.gate_up_proj",
    "model.layers.60.mlp.down_proj",
    "model.layers.7.mlp.experts.5.gate_proj",
    "model.layers.7.mlp.shared_expert.down_proj",
    "model.language_model.layers.3.mlp.up_proj",
)


def left_out(config: dict[str, Any], name: str) -> bool:
    return any(
        re.match(pattern.removeprefix("re:"), name) is not None
        for pattern in ignored_modules(config)
    )


@pytest.mark.parametrize("config", [LLAMA, QWEN_MOE, DEEPSEEK, VISION, HYBRID, AUDIO, {}])
@pytest.mark.parametrize("name", QUANTIZED)
def test_layers_of_the_blocks_are_quantized_in_every_architecture(
    config: dict[str, Any], name: str
) -> None:
    assert not left_out(config, name)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "lm_head"),
        (LLAMA, "lm_head"),
        (VISION, "language_model.lm_head"),
        (LLAMA, "embed_out"),
        (QWEN_MOE, "model.layers.0.mlp.gate"),
        (QWEN_MOE, "model.layers.0.mlp.shared_expert_gate"),
        ({**LLAMA, "num_local_experts": 8}, "model.layers.0.block_sparse_moe.gate"),
        ({**LLAMA, "num_local_experts": 16}, "model.layers.0.feed_forward.router"),
        ({**LLAMA, "num_experts": 4}, "model.layers.0.ffn.router.layer"),
        (DEEPSEEK, "model.layers.5.mlp.gate"),
        (DEEPSEEK, "model.layers.61.self_attn.o_proj"),
        (DEEPSEEK, "model.layers.61.mlp.experts.3.up_proj"),
        ({**LLAMA, "mtp_num_hidden_layers": 1}, "mtp.layers.0.mlp.up_proj"),
        (VISION, "vision_tower.vision_model.encoder.layers.0.mlp.fc1"),
        (VISION, "model.visual.blocks.0.attn.qkv"),
        (VISION, "model.vision_embed_tokens.img_processor.q_proj"),
        (VISION, "multi_modal_projector.linear_1"),
        (AUDIO, "audio_tower.layers.0.fc1"),
        (HYBRID, "model.layers.0.linear_attn.in_proj_ba"),
    ],
)
def test_what_must_stay_stays(config: dict[str, Any], name: str) -> None:
    assert left_out(config, name)


def test_a_gate_of_a_dense_model_is_no_router() -> None:
    assert not left_out(LLAMA, "model.layers.0.self_attn.gate")
    assert not left_out(LLAMA, "model.layers.61.self_attn.o_proj")


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (LLAMA, 128),
        (VISION, 128),
        (QWEN_MOE, 128),
        (DEEPSEEK, 128),
        ({"hidden_size": 576, "num_attention_heads": 9, "intermediate_size": 1536}, 64),
        ({"hidden_size": 2880, "num_attention_heads": 64, "intermediate_size": 2880}, 64),
        ({"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 256}, 32),
        ({**LLAMA, "moe_intermediate_size": 1408, "num_experts": 64}, 128),
        ({**DEEPSEEK, "kv_lora_rank": 160}, 32),
    ],
)
def test_the_group_divides_the_layers(config: dict[str, Any], size: int) -> None:
    assert group_size(config) == size


def test_widths_that_no_group_divides_are_named() -> None:
    narrow = {"hidden_size": 130, "num_attention_heads": 10, "intermediate_size": 256}
    with pytest.raises(BadInput, match=r"hidden_size = 130.*int_w8a8"):
        group_size(narrow)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "hidden_size = None"),
        ({**LLAMA, "intermediate_size": "wide"}, "intermediate_size = 'wide'"),
        ({**LLAMA, "hidden_size": True}, "hidden_size = True"),
        ({**DEEPSEEK, "v_head_dim": None}, r"num_attention_heads \* v_head_dim = None"),
        ({**QWEN_MOE, "moe_intermediate_size": -1}, "moe_intermediate_size = -1"),
    ],
)
def test_a_config_without_widths_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        input_widths(config)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 500), st.integers(1, 300))
def test_the_group_is_the_largest_that_divides_or_there_is_none(
    heads: int, head_dim: int, hidden: int, inner: int
) -> None:
    config = {
        "hidden_size": 16 * hidden,
        "num_attention_heads": heads,
        "head_dim": head_dim,
        "intermediate_size": 16 * inner,
    }
    widths = (16 * hidden, heads * head_dim, 16 * inner)
    dividing = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths)]
    if dividing:
        assert group_size(config) == max(dividing)
    else:
        with pytest.raises(BadInput):
            group_size(config)


@given(
    st.dictionaries(
        st.sampled_from(
            ["num_experts", "n_routed_experts", "vision_config", "audio_config", "layer_types",
             "num_nextn_predict_layers", "num_hidden_layers", "text_config", "hidden_size"]
        ),
        st.one_of(
            st.none(),
            st.integers(-2, 100),
            st.text(max_size=3),
            st.lists(st.sampled_from(["linear_attention", "full_attention"]), max_size=2),
            st.dictionaries(st.just("num_experts"), st.integers(0, 8)),
        ),
    )
)  # fmt: skip
def test_any_config_gives_patterns_that_leave_the_head_and_take_the_blocks(
    config: dict[str, Any],
) -> None:
    for pattern in ignored_modules(config):
        assert pattern.startswith("re:")
        re.compile(pattern.removeprefix("re:"))
    assert left_out(config, "lm_head")
    assert not left_out(config, "model.layers.200.self_attn.q_proj")


@given(st.sampled_from([4, 8]), st.sampled_from([16, 32, 64, 128]), st.integers(0, 8))
def test_bytes_grow_with_bits_and_with_scales(bits: int, group: int, zero_bits: int) -> None:
    found = bytes_per_parameter(bits, group, zero_bits=zero_bits)
    assert found > bits / 8
    assert found >= bytes_per_parameter(bits, 2 * group, zero_bits=zero_bits)
    # counted over a whole row of groups
    row = 8 * group
    whole = row * bits + (row // group) * (16 + zero_bits)
    assert found == pytest.approx(whole / 8 / row)


def test_a_scale_a_row_is_nearly_free() -> None:
    assert 1.0 < bytes_per_parameter(8) <= 1.01
