"""Models that tests make for themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

_HIDDEN, _LAYERS, _INTERMEDIATE, _VOCAB, _CONTEXT = 64, 2, 128, 512, 2048
_HEADS, _KV_HEADS, _HEAD_DIM = 4, 2, 32  # vLLM's CPU attention has no kernel for smaller heads
_MARKER = ".complete-2"  # raise the number when the model changes
_TEXT = (
    "The capital of France is Paris. Water boils at one hundred degrees. A week has seven days, "
    "a year twelve months. Cats chase mice; dogs bark at night. Two and two are four."
)


def tiny_llama(folder: Path) -> Path:
    """A random Llama that transformers and vLLM open; made in ``folder`` unless it is there.

    Hidden 64, 2 layers, 4/2 heads of 32, vocabulary 512, float32, a byte-level tokenizer.
    """
    if (folder / _MARKER).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    vocab = _write_tokenizer(folder)
    _write_config(folder, vocab)
    _write_weights(folder, vocab)
    (folder / _MARKER).touch()
    return folder


def _write_tokenizer(folder: Path) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    filler = [f"<|unused{number}|>" for number in range(_VOCAB - tokenizer.get_vocab_size())]
    tokenizer.add_tokens(filler)  # every id of the model has a text
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|endoftext|>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": _CONTEXT,
        },
    )
    return int(tokenizer.get_vocab_size())


def _write_config(folder: Path, vocab: int) -> None:
    _write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": _HIDDEN,
            "intermediate_size": _INTERMEDIATE,
            "num_hidden_layers": _LAYERS,
            "num_attention_heads": _HEADS,
            "num_key_value_heads": _KV_HEADS,
            "head_dim": _HEAD_DIM,
            "max_position_embeddings": _CONTEXT,
            "vocab_size": vocab,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": False,
            "tie_word_embeddings": False,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "torch_dtype": "float32",
        },
    )


def _write_weights(folder: Path, vocab: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)
    tensors = {
        name: np.ones(shape, np.float32)
        if len(shape) == 1
        else draw.normal(0.0, shape[1] ** -0.5, shape).astype(np.float32)
        for name, shape in _shapes(vocab)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _shapes(vocab: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    query, kv = _HEADS * _HEAD_DIM, _KV_HEADS * _HEAD_DIM
    yield "model.embed_tokens.weight", (vocab, _HIDDEN)
    yield "model.norm.weight", (_HIDDEN,)
    yield "lm_head.weight", (vocab, _HIDDEN)
    for layer in range(_LAYERS):
        block = f"model.layers.{layer}"
        yield f"{block}.input_layernorm.weight", (_HIDDEN,)
        yield f"{block}.post_attention_layernorm.weight", (_HIDDEN,)
        yield f"{block}.self_attn.q_proj.weight", (query, _HIDDEN)
        yield f"{block}.self_attn.k_proj.weight", (kv, _HIDDEN)
        yield f"{block}.self_attn.v_proj.weight", (kv, _HIDDEN)
        yield f"{block}.self_attn.o_proj.weight", (_HIDDEN, query)
        yield f"{block}.mlp.gate_proj.weight", (_INTERMEDIATE, _HIDDEN)
        yield f"{block}.mlp.up_proj.weight", (_INTERMEDIATE, _HIDDEN)
        yield f"{block}.mlp.down_proj.weight", (_HIDDEN, _INTERMEDIATE)


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def tiny_folder(folder: Path) -> Path:
    """The least that is a whole model folder: one tensor of eight bytes, an empty config."""
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    content = len(header).to_bytes(8, "little") + header + b"\0" * 8
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{}")
    return folder
