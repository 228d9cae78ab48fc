"""Step times of a simulated replica: a roofline, or measured kernels where they are asked for.

The one importer of ``aiconfigurator-core`` (extra ``kernels``; Linux on x86-64), which carries
NVIDIA's measurements of the kernels that vLLM runs. Times of the scheduler and of a request's
bookkeeping are in no table: they stay those of ``core/steptimes.py``.
"""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from optikit.core.steptimes import KERNELS, SEQ_S, STEP_S, StepTimes, roofline
from optikit.errors import BadInput, DoesNotFit
from optikit.spec.model import ModelShape
from optikit.spec.simulated import SimulatedReplica

__all__ = ["must_be_installed", "step_times"]

_SYSTEMS = {"A100": "a100_sxm", "H100": "h100_sxm", "H200": "h200_sxm", "L40S": "l40s"}
_REFUSALS = (RuntimeError, ValueError)
"""What the library raises where its tables hold nothing for a question."""
_MS = 1e-3
_MISSING = (
    "engine.flags: step_times kernels needs the package aiconfigurator-core: "
    "pip install 'optikit[kernels]' (Linux on x86-64), or leave step_times out"
)
_SHORT = 64
"""Context of the decodes that the linear layers are read from: next to no attention."""
_CONTEXTS = (512, 4096)
_BATCH = 128
_CHUNK = 512
_MOST_DECODES = 256


def must_be_installed() -> None:
    """Raise BadInput unless the tables are there; imports nothing."""
    if find_spec("aiconfigurator_core") is None:
        raise BadInput(_MISSING)


def step_times(replica: SimulatedReplica) -> StepTimes:
    """Step times from the source that the replica names.

    Raises:
        DoesNotFit: the device lacks the compute dtype, or the tables lack this model, device or
            dtype.
        BadInput: measured tables were asked for and the package is not installed.
    """
    if replica.step_times == "roofline":
        return roofline(replica.shape, replica.recipe, replica.sku, replica.serving)
    return _measured(replica.model_dump_json(exclude={"noise", "seed"}))


@lru_cache(maxsize=64)
def _measured(described: str) -> StepTimes:
    """The tables sampled on a grid of tokens, attention and KV cache reading taken apart.

    A decode of b requests with contexts of c tokens is linear(b) + kv b c; a prefill of k prompts
    of n tokens is linear(k n) + attention k n^2 / 2.
    """
    replica = SimulatedReplica.model_validate_json(described)
    engine = _engine(replica)
    serving = replica.serving
    try:
        near, far = (engine.decode_step_latency(_BATCH, c, 2) for c in _CONTEXTS)
        kv = (far - near) / (_BATCH * (_CONTEXTS[1] - _CONTEXTS[0]))
        whole, parts = (
            engine.predict_prefill_latency(1, 8192),
            engine.predict_prefill_latency(16, 512),
        )
        attention = max(0.0, 2 * (whole - parts) / (8192 * (8192 - 512)))
        grid, times = [0], [engine.decode_step_latency(1, _SHORT, 2)]
        tokens = 1
        while tokens < 2 * serving.max_num_batched_tokens:
            if tokens <= _MOST_DECODES:
                time = engine.decode_step_latency(tokens, _SHORT, 2) - kv * tokens * _SHORT
            else:
                prompts = tokens // _CHUNK
                time = engine.predict_prefill_latency(prompts, _CHUNK)
                time -= attention * prompts * _CHUNK * _CHUNK / 2
            grid.append(tokens)
            times.append(time)
            tokens *= 2
    except _REFUSALS as error:
        raise _refused(replica, error) from None
    steps = np.arange(serving.max_num_batched_tokens + 1)
    linear = np.interp(steps, grid, np.maximum.accumulate(times)) * _MS
    note = ", int8 taken for fp8" if _dtype(replica) == "int8" else ""
    return StepTimes(
        linear_s=linear,
        kv_s=float(kv * _MS),
        attention_s=float(attention * _MS),
        step_s=STEP_S["gpu"],
        seq_s=SEQ_S["gpu"],
        source=f"{KERNELS}{note}",
    )


def _engine(replica: SimulatedReplica) -> Any:
    system = _SYSTEMS.get(replica.sku.accelerator or "")
    if system is None:
        raise DoesNotFit(
            f"no measured kernels for {replica.sku.accelerator or 'a CPU'}; there are some for "
            f"{', '.join(_SYSTEMS)}. Leave step_times out for the roofline."
        )
    dtype = _dtype(replica)
    if dtype not in ("own", "fp8", "int8"):
        raise DoesNotFit(f"no measured kernels for {dtype} recipes; leave step_times out")
    try:
        from aiconfigurator_core import AicEngine
        from aiconfigurator_core.sdk.engine import compile_engine
    except ImportError:
        raise BadInput(_MISSING) from None
    with tempfile.TemporaryDirectory(prefix="optikit-shape-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(_config(replica.shape)))
        try:
            spec = compile_engine(
                folder,
                system,
                "vllm",
                tp_size=replica.serving.tensor_parallel,
                gemm_quant_mode=None if dtype == "own" else "fp8",
            )
            return AicEngine.from_spec(spec)
        except _REFUSALS as error:
            raise _refused(replica, error) from None


def _dtype(replica: SimulatedReplica) -> str:
    recipe = replica.recipe
    if recipe is None or recipe.scheme == "none":
        return "own"
    return recipe.computes_in(replica.sku.accelerator) or "own"


def _refused(replica: SimulatedReplica, error: Exception) -> DoesNotFit:
    first = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return DoesNotFit(
        f"no measured kernels for this model on {replica.sku.accelerator} at TP "
        f"{replica.serving.tensor_parallel}: {first}. Leave step_times out for the roofline."
    )


def _config(shape: ModelShape) -> dict[str, Any]:
    """The shape as a Llama's config.json: the tables know layers by their sizes."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.max_context,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
