"""The one place that speaks to llm-compressor, and with it to torch and compressed-tensors.

Where the weights are while a recipe works:

- without a bound, in memory. On a CPU in float32: half precision is emulated on most CPUs. With a
  GPU in half precision in the CPU's memory; the library brings one decoder layer at a time to the
  GPU, so a model larger than the GPU's memory compresses.
- with a bound that those copies do not fit, on disk in half precision: a layer is read when its
  turn comes, and written back when it is done. The checkpoint is then saved in small shards.

"Memory" is resident memory as getrusage counts it (``ru_maxrss``): what the process allocated
and the pages of the model's files that are mapped just then. The kernel could drop the latter; they
are counted all the same, so that a bound is one number that any tool shows. What a layer needs is
the floor: its weights, for GPTQ a float32 matrix of columns x columns for each linear layer and
three times the largest, all calibration activations (samples x tokens x hidden), the output head
twice, and about 0.6 GB of libraries. A bound below that is not kept, and the recorded peak says so.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optikit.adapters.datasets import table
from optikit.adapters.tokenizer import transformers
from optikit.core.licence import is_licence_file
from optikit.core.schemes import group_size, ignored_modules
from optikit.errors import BadInput, OptikitError
from optikit.recipes._whole import save_with_room, whole
from optikit.recipes.base import Compressed
from optikit.spec.candidate import LayerError
from optikit.spec.recipe import RecipeFacts

__all__ = ["FIRST_VLLM", "OneShot", "Step"]

FIRST_VLLM = "0.14.0"
"""First vLLM that reads what llm-compressor 0.14 writes: config.json names ``scale_dtype`` and
``zp_dtype``, which vLLM 0.13 refuses (github.com/vllm-project/llm-compressor/issues/2234). The
schemes themselves are older."""
LIBRARIES_BYTES = 1_500_000_000
"""Allowance beside the weights: libraries, activations, one layer's matrices."""
SLACK = 1.2
_OFFLOAD = ".offload"
"""Folder inside the unfinished checkpoint for weights that are not in memory."""
_M_MMAP_THRESHOLD = -3
_ON_DISK_BYTES = 2**20
"""Modules smaller than this stay in memory: norms, rotary tables."""
_BESIDE = (
    *("README.md", "generation_config.json", "chat_template.jinja"),
    *("preprocessor_config.json", "processor_config.json"),
)
"""Files of a model folder that go with the weights, as its licences do."""
_LOST = "the weights compressed so far were in this process, so compression starts again"


@dataclass(frozen=True)
class Step:
    """One modifier of llm-compressor by name."""

    modifier: str
    scheme: str | None = None
    """Preset that it writes on every linear layer; None: it prepares weights for the next step."""
    grouped: bool = False
    """Scales for groups of weights, of the largest size that divides the layers."""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OneShot:
    """A recipe that one call of llm-compressor's ``oneshot`` carries out."""

    facts: RecipeFacts
    steps: tuple[Step, ...]

    def compress(
        self,
        model: Path,
        out: Path,
        samples: Sequence[str],
        *,
        max_tokens: int,
        seed: int,
        memory_bytes: int | None = None,
        code: bool = False,
    ) -> Compressed:
        """As recipes/base.py: ``out`` holds a whole checkpoint when this returns, or is not there.

        Raises:
            BadInput: the architecture's layers cannot be grouped, or a sample has no tokens.
            DiskFull: no room for the weights on disk, or for the checkpoint; the save alone was
                tried again if room came back.
            OptikitError: llm-compressor is not installed.
        """
        os.environ["HF_HUB_OFFLINE"] = "1"  # everything is on disk; nothing is looked up
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        config = json.loads((model / "config.json").read_text())
        work = _Library(code)
        modifiers = work.modifiers(self.steps, config)
        tokenizer = work.open("AutoTokenizer", model)
        rows = _rows(tokenizer, samples, max_tokens) if self.facts.needs_calibration else None
        transformers().set_seed(seed)
        with whole(out, _LOST), work.session(out / _OFFLOAD) as errors:
            network = work.load(model, out / _OFFLOAD, memory_bytes)
            work.oneshot(network, tokenizer, modifiers, rows, max_tokens, errors)
            needed = work.pack(network)

            def save() -> None:
                work.save(network, out, memory_bytes)
                tokenizer.save_pretrained(out)
                for file in model.iterdir():
                    beside = file.name in _BESIDE or is_licence_file(file.name)
                    beside = file.is_file() and (beside or (code and file.suffix == ".py"))
                    if beside and not (out / file.name).exists():
                        shutil.copy(file, out / file.name)

            def restore() -> None:
                work.restore(network)

            save_with_room(save, restore, out, needed, _LOST, keep=(_OFFLOAD,))
            shutil.rmtree(out / _OFFLOAD, ignore_errors=True)
        return Compressed(layer_errors=tuple(errors), device_peak_bytes=work.device_peak())


def _rows(tokenizer: Any, samples: Sequence[str], max_tokens: int) -> Any:
    rows = [
        tokenizer(text, truncation=True, max_length=max_tokens, padding=False) for text in samples
    ]
    if any(len(row["input_ids"]) == 0 for row in rows):
        raise BadInput("a calibration sample has no tokens; remove it from the dataset")
    return table([{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows])


def _weights_bytes(model: Path) -> int:
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _copies_fit(model: Path, bytes_each: float, bound: int | None) -> bool:
    """Whether the weights, at so many bytes for each on disk, stand in memory under the bound."""
    return bound is None or LIBRARIES_BYTES + SLACK * bytes_each * _weights_bytes(model) <= bound


class _Library:
    """llm-compressor, torch and compressed-tensors, loaded when the first recipe runs."""

    def __init__(self, code: bool = False) -> None:
        self._code = code
        transformers()  # before torch is loaded: it says how threads wait
        try:
            import torch
            from llmcompressor import oneshot
        except ImportError as error:
            raise OptikitError(
                f"the compress stage needs llm-compressor ({error}); "
                "make setup, or: pip install 'optikit[compress]'"
            ) from error
        self._torch: Any = torch
        self._oneshot = oneshot
        self._half: Any = torch.bfloat16
        self._gpu = torch.cuda.is_available()
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()

    def device_peak(self) -> int:
        return int(self._torch.cuda.max_memory_allocated()) if self._gpu else 0

    def open(self, kind: str, model: Path, **arguments: Any) -> Any:
        """An object of the model folder by the name of its class.

        Code of the model's own is run only where that was asked for and allowed.
        """
        factory = getattr(transformers(), kind)
        try:
            return factory.from_pretrained(
                model, trust_remote_code=self._code, local_files_only=True, **arguments
            )
        except (ValueError, KeyError, ImportError) as error:
            how = "" if self._code else " without code of its own"
            raise BadInput(
                f"{model} cannot be opened as a causal language model{how}, so no recipe can "
                f"compress it: {type(error).__name__}: {error}"
            ) from error

    def modifiers(self, steps: Sequence[Step], config: Mapping[str, Any]) -> list[Any]:
        """The library's modifiers for an architecture.

        Raises:
            BadInput: a grouped scheme fits no group size.
        """
        from compressed_tensors.quantization import preset_name_to_scheme
        from llmcompressor.modifiers.gptq import GPTQModifier
        from llmcompressor.modifiers.quantization import QuantizationModifier
        from llmcompressor.modifiers.transform.awq import AWQModifier
        from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

        kinds = {
            kind.__name__: kind
            for kind in (AWQModifier, GPTQModifier, QuantizationModifier, SmoothQuantModifier)
        }
        made = []
        for step in steps:
            arguments = dict(step.arguments)
            if step.scheme is not None:
                scheme = preset_name_to_scheme(step.scheme, ["Linear"])
                if step.grouped:
                    scheme.weights.group_size = group_size(config)
                arguments |= {
                    "config_groups": {"group_0": scheme},
                    "ignore": list(ignored_modules(config)),
                }
            made.append(kinds[step.modifier](**arguments))
        return made

    def load(self, model: Path, offload: Path, memory_bytes: int | None) -> Any:
        """The network, in memory or on disk; see the file's head."""
        torch, config = self._torch, self.open("AutoConfig", model)
        own = getattr(torch, str(config.dtype or "bfloat16").removeprefix("torch."))
        self._half = own if own == torch.float16 else torch.bfloat16
        working = self._half if self._gpu else torch.float32
        if _copies_fit(model, working.itemsize / own.itemsize, memory_bytes):
            network = self.open("AutoModelForCausalLM", model, dtype="auto")
            return network.to(working)
        with torch.device("meta"):
            empty = transformers().AutoModelForCausalLM.from_config(
                config, trust_remote_code=self._code
            )
        places = {}
        for name, module in empty.named_modules():
            tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            if tensors:
                small = sum(tensor.nbytes for tensor in tensors) < _ON_DISK_BYTES
                places[name] = "cpu" if small else "disk"
        offload.mkdir()
        _give_back_freed_memory()
        return self.open(
            "AutoModelForCausalLM",
            model,
            dtype=self._half,
            device_map=places,
            offload_folder=offload,
            offload_buffers=True,
        )

    @contextmanager
    def session(self, offload: Path) -> Iterator[list[LayerError]]:
        """The library's own state of one run; nothing of it is left behind."""
        from compressed_tensors.offload.cache import DiskCache
        from llmcompressor.core import reset_session

        errors: list[LayerError] = []
        try:
            yield errors
        finally:
            reset_session()
            inside = f"{offload.resolve()}{os.sep}"
            for tensor, place in list(DiskCache.index.items()):
                if str(place["safetensors_file"]).startswith(inside):
                    del DiskCache.index[tensor]

    def oneshot(
        self,
        network: Any,
        tokenizer: Any,
        modifiers: list[Any],
        rows: Any,
        max_tokens: int,
        errors: list[LayerError],
    ) -> None:
        """Calibrate and round; GPTQ's errors go into ``errors``."""
        from compressed_tensors.utils import patch_attr
        from llmcompressor.modifiers.gptq import base as gptq
        from llmcompressor.pipelines.cache import IntermediatesCache

        names = {module: name for name, module in network.named_modules()}
        arguments: dict[str, Any] = {"model": network, "tokenizer": tokenizer, "recipe": modifiers}
        if rows is not None:
            arguments |= {
                "dataset": rows,
                "num_calibration_samples": len(rows),
                "max_seq_length": max_tokens,
                "shuffle_calibration_samples": False,
            }
        with ExitStack() as patches:
            watched = _watch(gptq.CompressionLogger, names, errors)
            patches.enter_context(patch_attr(gptq, "CompressionLogger", watched))
            if not self._gpu:
                # AWQ pins memory for copies to a GPU, which torch refuses where there is none
                patches.enter_context(patch_attr(IntermediatesCache, "pin_memory", _not_pinned))
            self._oneshot(**arguments)

    def pack(self, network: Any) -> int:
        """Round and pack the weights in place; bytes that the checkpoint will take.

        From float32, integers are made first and the rest is narrowed after: a scale that is
        narrowed before it divides would move them.
        """
        from compressed_tensors import ModelCompressor
        from compressed_tensors.offload import disable_onloading

        ModelCompressor.from_pretrained_model(network).compress_model(network)
        with disable_onloading():
            tensors = dict(network.named_parameters(remove_duplicate=True))
            if not self._gpu and all(not tensor.is_meta for tensor in tensors.values()):
                grouped = {
                    f"{name}.weight_scale"
                    for name, module in network.named_modules()
                    if _strategy(module) == "group"
                }
                for name, tensor in tensors.items():
                    scale = name.endswith("scale") and name not in grouped
                    if tensor.dtype == self._torch.float32 and not scale:
                        tensor.data = tensor.data.to(self._half)
            return sum(tensor.nbytes for tensor in tensors.values())

    def save(self, network: Any, out: Path, memory_bytes: int | None) -> None:
        """Write weights and config.json; under a bound in shards of an eighth of it."""
        shard = min(5 * 10**9, memory_bytes // 8) if memory_bytes else 5 * 10**9
        network.save_pretrained(out, save_compressed=True, max_shard_size=shard)

    def restore(self, network: Any) -> None:
        """The network as it was before a save that failed in the middle."""
        from compressed_tensors.offload import from_accelerate

        if hasattr(network, "hf_device_map"):
            from_accelerate(network)


def _give_back_freed_memory() -> None:
    """Tell glibc to map large blocks one by one, so that a freed layer goes back to the system.

    By default it keeps blocks up to 32 MiB in one heap, which then grows with every layer
    (mallopt(3), M_MMAP_THRESHOLD). Other C libraries have no such heap.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**20)


def _watch(logger: Any, names: Mapping[Any, str], errors: list[LayerError]) -> Any:
    """``logger``, whose results are also kept: the library only prints them, to two digits."""

    def make(module: Any) -> Any:
        log = logger(module)
        tell = log.set_results

        def keep(name: str | None = None, loss: float | None = None) -> None:
            if loss is not None and math.isfinite(loss):
                errors.append(LayerError(layer=names.get(module, "?"), error=max(loss, 0.0)))
            tell(name=name, loss=loss)

        log.set_results = keep
        return log

    return make


def _not_pinned(*_: Any, **__: Any) -> None:
    """In place of IntermediatesCache.pin_memory."""


def _strategy(module: Any) -> str | None:
    scheme = getattr(module, "quantization_scheme", None)
    weights = getattr(scheme, "weights", None)
    return str(getattr(weights.strategy, "value", weights.strategy)) if weights else None
