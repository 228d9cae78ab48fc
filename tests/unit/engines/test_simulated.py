from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optikit.engines.simulated import ENGINE
from optikit.engines.vllm import Vllm
from optikit.errors import BadInput, EngineStartFailed
from optikit.loadgen.simulated import server_of
from optikit.recipes.fp8_dynamic import RECIPE as FP8
from optikit.recipes.int_w8a8 import RECIPE as INT8
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import MODEL_FILE, SimulatedModel, marked
from optikit.spec.sku import ResourceSKU
from optikit.stores.shapes import shipped_shape

SERVING = ServingConfig(max_model_len=1472)


def described(
    name: str = "qwen-2.5-7b", sku: str = "H100_2", recipe: RecipeFacts | None = None
) -> SimulatedModel:
    shape = shipped_shape(name)
    assert shape is not None
    return SimulatedModel(shape=shape, recipe=recipe, sku=ResourceSKU[sku].facts)


def folder(path: Path, model: SimulatedModel) -> Path:
    path.mkdir()
    (path / MODEL_FILE).write_text(json.dumps(model.model_dump(mode="json")))
    return path


def serve(model: Path, log: Path, serving: ServingConfig = SERVING, **options: Any) -> Any:
    return ENGINE.serve(model, serving, "gpu", vocab=1000, log=log, what="trial t0", **options)


def test_the_endpoint_says_what_to_simulate(tmp_path: Path) -> None:
    model = described(recipe=FP8.facts)
    serving = SERVING.model_copy(update={"extra_flags": (("noise", 0.1), ("seed", 7))})
    log = tmp_path / "trials" / "engine.log"
    with serve(folder(tmp_path / "m", model), log, serving, port=1) as server:
        server.check()
        replica = server.endpoint.simulated
        # 7.6 GB in fp8 and 1.1 GB of embeddings at 16 bit, over 2 GB/s, and a minute
        assert server.startup_s == pytest.approx(64.3, abs=0.5)
        assert server.endpoint.base_url.endswith(".invalid")
    assert (replica.shape, replica.recipe, replica.sku) == (model.shape, FP8.facts, model.sku)
    assert replica.serving == SERVING
    assert (replica.noise, replica.seed) == (0.1, 7)
    assert server_of(replica).kv_tokens > 1472
    said = log.read_text()
    assert said.startswith("SIMULATED: ")
    assert "H100 SXM datasheet" in said
    assert f"start-up: {server.startup_s:.1f} s of virtual time, an assumption" in said
    assert "enable_prefix_caching" not in said


def test_the_start_up_is_that_of_one_devices_weights(tmp_path: Path) -> None:
    large = described("llama-70b", "H100_8")
    path = folder(tmp_path / "m", large)
    found = []
    for tp, dp in ((4, 1), (8, 1), (4, 2)):
        serving = SERVING.model_copy(update={"tensor_parallel": tp, "data_parallel": dp})
        with serve(path, tmp_path / "log", serving) as server:
            found.append(server.startup_s)
    assert found[0] - 60 == pytest.approx(2 * (found[1] - 60))
    assert found[2] == found[0]
    small = folder(tmp_path / "c", described("smollm2-135m", "CPU_2"))
    with ENGINE.serve(small, SERVING, "cpu", vocab=9, log=tmp_path / "log") as server:
        assert server.startup_s == 10.0


def test_flags_that_change_nothing_here_are_accepted(tmp_path: Path) -> None:
    changed = {"enable_prefix_caching": True, "block_size": 32, "scheduling_policy": "priority"}
    serving = SERVING.model_copy(update=changed)
    ENGINE.check(serving, "gpu")
    with serve(folder(tmp_path / "m", described()), tmp_path / "log", serving) as server:
        assert server.endpoint.simulated.serving == serving
    assert "enable_prefix_caching: no effect" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("changed", [{"speculative_ngram": 3}, {"enforce_eager": True}])
def test_what_is_not_simulated_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    serving = SERVING.model_copy(update=changed)
    path = folder(tmp_path / "m", described())
    with pytest.raises(BadInput, match="is not simulated"):
        ENGINE.check(serving, "gpu")
    with pytest.raises(BadInput, match="is not simulated"), serve(path, tmp_path / "l", serving):
        pass
    ENGINE.check(SERVING.model_copy(update={"enforce_eager": True}), "cpu")


def test_a_bundle_has_the_file_beside_the_models_place(tmp_path: Path) -> None:
    bundle = folder(tmp_path / "bundle", described())
    with serve(bundle / "model", tmp_path / "log") as server:
        assert server.endpoint.simulated.shape == described().shape


@pytest.mark.parametrize("content", [None, "{", '{"shape": 1}'])
def test_nothing_to_simulate_is_one_clear_error(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "m").mkdir()
    if content is not None:
        (tmp_path / "m" / MODEL_FILE).write_text(content)
    with pytest.raises(BadInput, match=MODEL_FILE), serve(tmp_path / "m", tmp_path / "log"):
        pass


@pytest.mark.parametrize(
    ("model", "changed", "why", "cause"),
    [
        (described("llama-70b", "H100_1"), {}, "KV cache then holds 0 tokens", "out of memory"),
        (described(), {"tensor_parallel": 8}, "the SKU has 2", "illegal flag"),
        (described(), {"data_parallel": 4}, "4 replicas of 1 devices", "illegal flag"),
        (described(sku="CPU_2", recipe=INT8.facts), {}, "no int8 arithmetic", "no kernel"),
    ],
)
def test_what_cannot_stand_does_not_start(
    tmp_path: Path, model: SimulatedModel, changed: dict[str, Any], why: str, cause: str
) -> None:
    path, serving = folder(tmp_path / "m", model), SERVING.model_copy(update=changed)
    with (
        pytest.raises(EngineStartFailed, match=why) as error,
        serve(path, tmp_path / "log", serving),
    ):
        pass
    assert error.value.cause == cause


@pytest.mark.parametrize(
    ("flag", "value", "why"),
    [
        ("enable-prefix-caching", True, "no 'enable-prefix-caching'"),
        ("noice", 0.1, "did you mean 'noise'"),
        ("noise", 1, "from 0 to below 1"),
        ("noise", True, "from 0 to below 1"),
        ("seed", 1.5, "whole number"),
        ("seed", -1, "whole number"),
        ("step_times", "magic", "step_times 'magic'"),
    ],
)
def test_a_flag_that_changes_nothing_is_refused(flag: str, value: Any, why: str) -> None:
    serving = SERVING.model_copy(update={"extra_flags": ((flag, value),)})
    with pytest.raises(BadInput, match=why):
        ENGINE.check(serving, "gpu")


def test_the_command_is_vllms_and_needs_no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIKIT_ENGINE_PYTHON", "/nowhere/python")
    serving = SERVING.model_copy(update={"extra_flags": (("step-times", "roofline"),)})
    ENGINE.check(serving, "gpu")
    command = ENGINE.command(Path("/m"), serving, "gpu", host="h", port=1, name="n")
    assert command[:3] == ["python", "-m", "vllm.entrypoints.openai.api_server"]
    assert command[command.index("--served-model-name") + 1] == "n"
    assert command[command.index("--max-model-len") + 1] == "1472"
    assert not [word for word in command if "step" in word]
    assert ENGINE.environment(serving, "gpu") == Vllm().environment(serving, "gpu")
    assert ENGINE.version()
    assert ENGINE.packages() == {}


def test_it_serves_what_vllm_serves_and_is_marked() -> None:
    assert ENGINE.facts.serves == Vllm.facts.serves
    assert ENGINE.facts.simulated
    assert not Vllm.facts.simulated
    assert (marked("x", True), marked("x", False)) == ("SIMULATED: x", "x")
