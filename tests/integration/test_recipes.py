"""Recipes on the real library: the checkpoint says what it is, and the engine answers from it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optikit.adapters.hardware import cpu_dtype
from optikit.core.calibration import choose_samples
from optikit.engines.vllm import ENGINE
from optikit.errors import BadInput, DiskFull, EngineStartFailed, NoKernel
from optikit.recipes import RECIPES, _llmcompressor, _whole
from optikit.recipes._llmcompressor import OneShot, _Library
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.serving import ServingConfig
from optikit.stores.datasets import read_texts
from tests.models import tiny_llama

# the library warns about itself (deprecated calls, an unset pad token); none of it is ours
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),
]

ROOT = Path(__file__).parents[2]
VOCAB = 512
SERVING = ServingConfig(max_model_len=256, max_num_seqs=8, dtype=cpu_dtype(), enforce_eager=True)
ALL = sorted(set(RECIPES.names()) - {"none"})
# format of the checkpoint, then weights: type, bits, strategy; then activations: strategy, dynamic
WRITES: dict[str, tuple[Any, ...]] = {
    "int_w8a8": ("int-quantized", "int", 8, "channel", ("token", True)),
    "int_w8a8_rtn": ("int-quantized", "int", 8, "channel", ("token", True)),
    "int_w4a16": ("pack-quantized", "int", 4, "group", None),
    "awq_w4a16": ("pack-quantized", "int", 4, "group", None),
    "fp8_dynamic": ("float-quantized", "float", 8, "channel", ("token", True)),
    "fp8_static": ("float-quantized", "float", 8, "tensor", ("tensor", False)),
    "fp8_kv": ("float-quantized", "float", 8, "channel", ("token", True)),
    "nvfp4": ("nvfp4-pack-quantized", "float", 4, "tensor_group", ("tensor_group", "local")),
}
LAYERS = 14  # two blocks of seven linear layers


@pytest.fixture(scope="module")
def model() -> Path:
    return tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")


@pytest.fixture(scope="module")
def samples() -> tuple[str, ...]:
    texts = read_texts(ROOT / "examples" / "data" / "calibration").texts
    return choose_samples(texts, 8, seed=0).texts


Made = Callable[[str], tuple[Path, Any]]


@pytest.fixture(scope="module")
def made(model: Path, samples: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A recipe's checkpoint of the tiny model and what it said; each made once."""
    folder = tmp_path_factory.mktemp("made")
    known: dict[str, Any] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name not in known:
            known[name] = compress(name, model, folder / name, samples)
        return folder / name, known[name]

    return make


def compress(
    name: str, model: Path, out: Path, samples: tuple[str, ...], bound: int | None = None
) -> Any:
    recipe = RECIPES.load(name)
    given = samples if recipe.facts.needs_calibration else ()
    return recipe.compress(model, out, given, max_tokens=32, seed=0, memory_bytes=bound)


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors import safe_open

    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return found


def test_every_recipe_is_tried_here() -> None:
    assert sorted(WRITES) == ALL


@pytest.mark.parametrize("name", ALL)
def test_modifiers_leave_the_head_and_take_the_group_that_divides(name: str) -> None:
    recipe = RECIPES.load(name)
    assert isinstance(recipe, OneShot)
    config = {
        "hidden_size": 576,
        "num_attention_heads": 9,
        "intermediate_size": 1536,
        "num_local_experts": 4,
    }
    *before, last = _Library().modifiers(recipe.steps, config)
    scheme = last.config_groups["group_0"]
    assert scheme.targets == ["Linear"]
    assert any("lm_head" in pattern for pattern in last.ignore)
    assert any("router" in pattern for pattern in last.ignore)
    assert scheme.weights.group_size == {"nvfp4": 16, "int_w4a16": 64, "awq_w4a16": 64}.get(name)
    names = [type(modifier).__name__ for modifier in before]
    assert names == {"int_w8a8": ["SmoothQuantModifier"], "awq_w4a16": ["AWQModifier"]}.get(
        name, []
    )


@pytest.mark.parametrize("name", ["int_w4a16", "awq_w4a16"])
def test_widths_that_no_group_divides_end_it_before_any_work(
    name: str, model: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    config = json.loads((model / "config.json").read_text()) | {"intermediate_size": 130}
    (odd / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="intermediate_size = 130"):
        compress(name, odd, tmp_path / "out", ("a text",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_writes_a_checkpoint_that_says_its_scheme(
    name: str, made: Made, model: Path
) -> None:
    out, _ = made(name)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    stored, kind, bits, strategy, activations = WRITES[name]
    assert config["quant_method"] == "compressed-tensors"
    assert config["format"] == stored
    assert config["ignore"] == ["lm_head"]
    (group,) = config["config_groups"].values()
    weights, inputs = group["weights"], group["input_activations"]
    assert (weights["type"], weights["num_bits"], weights["strategy"]) == (kind, bits, strategy)
    assert (inputs and (inputs["strategy"], inputs["dynamic"])) == activations
    assert weights["symmetric"] == (name != "awq_w4a16")
    if strategy == "group":
        assert weights["group_size"] == 64
    assert (out / "tokenizer.json").exists()
    assert not (out / ".offload").exists()
    size = next(out.glob("*.safetensors")).stat().st_size
    assert size < 0.6 * (model / "model.safetensors").stat().st_size


def test_fp8_kv_has_a_scale_of_keys_and_values_a_layer(made: Made) -> None:
    out, _ = made("fp8_kv")
    found = tensors(out)
    for layer in range(2):
        for scale in ("k_scale", "v_scale"):
            value = found[f"model.layers.{layer}.self_attn.{scale}"]
            assert float(value) > 0
    scheme = json.loads((out / "config.json").read_text())["quantization_config"]["kv_cache_scheme"]
    assert (scheme["num_bits"], scheme["type"], scheme["dynamic"]) == (8, "float", False)


@pytest.mark.parametrize("name", ["int_w8a8", "int_w4a16"])
def test_gptq_gives_an_error_for_each_layer(name: str, made: Made) -> None:
    errors = made(name)[1].layer_errors
    assert len({error.layer for error in errors}) == LAYERS
    assert all(error.layer.startswith("model.layers.") for error in errors)
    assert all(error.error > 0 for error in errors)


def test_four_bits_lose_more_than_eight(made: Made) -> None:
    lost = {
        name: sum(error.error for error in made(name)[1].layer_errors)
        for name in ("int_w8a8", "int_w4a16")
    }
    assert lost["int_w4a16"] > 10 * lost["int_w8a8"]


@pytest.mark.parametrize("name", ["int_w8a8_rtn", "int_w8a8", "int_w4a16", "fp8_static"])
def test_weights_on_disk_give_the_same_checkpoint(
    name: str,
    made: Made,
    model: Path,
    samples: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_llmcompressor, "_ON_DISK_BYTES", 2048)
    before = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    out = tmp_path / "out"
    compress(name, model, out, samples, bound=1_000_000)
    # the offloaded weights are links to the model's file until they change: it must not
    assert hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest() == before
    assert len(list(out.glob("*.safetensors"))) > 1  # saved in shards
    assert not (out / ".offload").exists()
    here, there = tensors(out), tensors(made(name)[0])
    assert here.keys() == there.keys()
    for key, tensor in here.items():
        assert tensor.shape == there[key].shape
        if key.endswith("weight") and tensor.dtype == there[key].dtype and name != "int_w4a16":
            # bfloat16 in place of float32: a weight may round to its neighbour, no further
            one, other = tensor.float(), there[key].float()
            assert float((one - other).abs().max()) <= 0.08 * float(other.abs().max())


class Full:
    """In place of safetensors' save_file: the first call writes half a file and fails."""

    def __init__(self, save: Callable[..., None]) -> None:
        self.save = save
        self.calls = 0

    def __call__(self, found: Any, filename: Any, **arguments: Any) -> None:
        from safetensors import SafetensorError

        self.calls += 1
        if self.calls == 1:
            Path(filename).write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        self.save(found, filename, **arguments)


@pytest.mark.parametrize("bound", [None, 1_000_000])
def test_a_full_disk_at_the_save_costs_only_the_save(
    bound: int | None,
    model: Path,
    samples: tuple[str, ...],
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import modeling_utils

    monkeypatch.setattr(_llmcompressor, "_ON_DISK_BYTES", 2048)
    full = Full(modeling_utils.safe_save_file)
    monkeypatch.setattr(modeling_utils, "safe_save_file", full)
    out = tmp_path / "out"
    done = compress("int_w8a8", model, out, samples, bound=bound)
    assert len(done.layer_errors) == LAYERS  # calibrated once
    assert full.calls >= 2
    assert tensors(out).keys() == tensors(made("int_w8a8")[0]).keys()
    assert json.loads((out / "config.json").read_text())["quantization_config"]["ignore"]


def test_a_disk_that_stays_full_is_said_and_nothing_is_left(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import modeling_utils

    monkeypatch.setattr(_whole, "WAIT_S", 0.0)
    monkeypatch.setattr(_whole, "_free", lambda _: 10)
    monkeypatch.setattr(modeling_utils, "safe_save_file", Full(modeling_utils.safe_save_file))
    with pytest.raises(DiskFull, match=rf"{tmp_path}.*0\.0 MiB is free.*compression starts again"):
        compress("int_w8a8_rtn", model, tmp_path / "out", ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(600)
def test_a_model_larger_than_its_memory_stays_below_the_bound() -> None:
    script = str(ROOT / "benchmarks" / "compress_memory.py")
    done = subprocess.run(
        [sys.executable, script, "--quick"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["weights_bytes"] > 1.1e9
    assert found["peak_bytes"] < found["budget_bytes"] < found["weights_bytes"]
    assert found["unbounded_peak_bytes"] > 2 * found["budget_bytes"]


def serve(out: Path, log: Path, groups: list[ProcessGroup]) -> None:
    """Returns after the server answered with a whole completion."""
    with ENGINE.serve(
        out,
        SERVING,
        "cpu",
        vocab=VOCAB,
        log=log,
        start_timeout_s=240.0,
        on_start=groups.append,
    ) as server:
        server.check()


@pytest.mark.parametrize("name", ALL)
def test_the_engines_table_is_what_the_engine_does(
    name: str, made: Made, tmp_path: Path, groups: list[ProcessGroup]
) -> None:
    scheme = RECIPES.load(name).facts.scheme
    out, log = made(name)[0], tmp_path / "engine.log"
    if scheme in ENGINE.facts.serves["cpu"]:
        serve(out, log, groups)
    elif scheme in ENGINE.facts.doubtful["cpu"]:
        try:
            serve(out, log, groups)
        except NoKernel:
            needs = "avx512f" if name == "fp8_kv" else "avx512_bf16"  # its int4 has no float32
            assert needs not in Path("/proc/cpuinfo").read_text()
        if name == "fp8_kv":  # one byte an element: 2 x layers x KV heads x head width a token
            assert f"{2**30 // (2 * 2 * 2 * 32):,} tokens" in log.read_text()
    else:
        with pytest.raises(EngineStartFailed):
            serve(out, log, groups)
