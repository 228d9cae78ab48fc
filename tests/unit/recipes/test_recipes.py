from __future__ import annotations

from pathlib import Path

import pytest

from optikit.engines.vllm import ENGINE
from optikit.errors import DiskFull
from optikit.recipes import RECIPES
from optikit.recipes._llmcompressor import OneShot
from optikit.recipes.base import Compressed
from optikit.spec.sku import ResourceSKU

ALL = {
    "awq_w4a16",
    "fp8_dynamic",
    "fp8_kv",
    "fp8_static",
    "int_w4a16",
    "int_w8a8",
    "int_w8a8_rtn",
    "none",
    "nvfp4",
}
GPUS = sorted({sku.facts.accelerator for sku in ResourceSKU if sku.facts.accelerator})


def test_the_recipes_are_these() -> None:
    assert set(RECIPES.names()) >= ALL


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_recipe_declares_itself(name: str) -> None:
    facts = RECIPES.load(name).facts
    assert facts.name == name
    assert facts.summary
    assert facts.needs_calibration == (facts.default_samples > 0)
    assert 0.5 < facts.block_bytes_per_parameter <= 2.0
    assert set(facts.weight_only_on) <= set(GPUS)


@pytest.mark.parametrize("name", sorted(ALL))
def test_samples_by_default_are_256_and_512_for_4_bits(name: str) -> None:
    facts = RECIPES.load(name).facts
    four_bits = facts.block_bytes_per_parameter < 0.6
    assert facts.default_samples in ((512,) if four_bits else (0, 256))


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_engine_serves_or_tries_what_a_recipe_writes_on_a_gpu(name: str) -> None:
    scheme, facts = RECIPES.load(name).facts.scheme, ENGINE.facts
    assert scheme in facts.serves["gpu"]
    assert set(facts.doubtful.get("cpu", ())).isdisjoint(facts.serves["cpu"])


@pytest.mark.parametrize(
    ("name", "accelerator", "dtype"),
    [
        ("int_w8a8", "A100", "int8"),
        ("fp8_dynamic", "A100", "own"),
        ("fp8_dynamic", "H100", "fp8"),
        ("fp8_static", "L40S", "fp8"),
        ("int_w4a16", "H200", "own"),
        ("nvfp4", "H100", "own"),
        ("none", "A100", "own"),
        ("int_w8a8", None, "int8"),
    ],
)
def test_products_are_in_the_dtype_that_the_device_has(
    name: str, accelerator: str | None, dtype: str
) -> None:
    assert RECIPES.load(name).facts.computes_in(accelerator) == dtype


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("sku", [ResourceSKU.A100_1, ResourceSKU.H100_1, ResourceSKU.L40S_1])
def test_a_device_has_arithmetic_for_what_a_recipe_says_it_computes_there(
    name: str, sku: ResourceSKU
) -> None:
    computes = RECIPES.load(name).facts.computes_in(sku.facts.accelerator)
    assert computes in ("own", None) or computes in sku.facts.flops_per_s


def test_only_fp8_kv_asks_for_another_cache() -> None:
    assert [n for n in sorted(ALL) if RECIPES.load(n).facts.kv_dtype != "own"] == ["fp8_kv"]


def test_every_step_that_rounds_names_its_scheme_and_the_last_one_rounds() -> None:
    for name in ALL - {"none"}:
        recipe = RECIPES.load(name)
        assert isinstance(recipe, OneShot)
        assert recipe.steps[-1].scheme is not None
        assert [step.scheme for step in recipe.steps[:-1]] == [None] * (len(recipe.steps) - 1)
        four = recipe.steps[-1].scheme.startswith("W4")
        assert recipe.steps[-1].grouped == four


def test_none_copies_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text("{}")
    done = RECIPES.load("none").compress(tmp_path / "m", tmp_path / "out", [], max_tokens=8, seed=0)
    assert (tmp_path / "out/config.json").read_text() == "{}"
    assert done == Compressed()


def test_none_on_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, **_: object) -> None:
        (target / "half").write_text("x")
        raise OSError([(str(source), str(target), "[Errno 28] No space left on device")])

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(DiskFull, match="the copy starts again"):
        RECIPES.load("none").compress(tmp_path / "m", tmp_path / "out", [], max_tokens=8, seed=0)
    assert list(tmp_path.iterdir()) == []
