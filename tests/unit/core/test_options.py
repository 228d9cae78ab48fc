"""Several recipes a job: which are tried, which are left out, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.plan import RECORDS_BYTES, make_plan
from optikit.errors import SpecError
from optikit.flows import FLOWS
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.recipe import RecipeFacts
from tests.specs import ENGINE, RTN, SMALL

CALIBRATED = RTN.model_copy(
    update={"name": "int_w8a8", "needs_calibration": True, "default_samples": 256}
)
W4 = RTN.model_copy(
    update={"name": "int_w4a16", "scheme": "W4A16", "block_bytes_per_parameter": 0.55}
)
TRIES_W4 = ENGINE.model_copy(update={"doubtful": {"cpu": ("W4A16",)}})


def plan(
    recipes: list[RecipeFacts], engine: Any = ENGINE, version: str | None = None, **params: Any
) -> Plan:
    job = OptimizationJob.parse(
        {
            "model": {"name": "m"},
            "dataset": {"path": "/d"},
            "compute": {"sku": "CPU_2"},
            "flow_params": {"recipe": [r.name for r in recipes], **params},
        }
    )
    return make_plan(job, FLOWS.load("quantize"), SMALL, engine, recipes, engine_version=version)


def test_each_recipe_is_an_option_and_the_first_speaks_until_one_is_chosen() -> None:
    found = plan([CALIBRATED, RTN])
    assert [o.recipe.name for o in found.options if o.recipe] == ["int_w8a8", "int_w8a8_rtn"]
    assert (found.recipe, found.calibration_samples) == (CALIBRATED, 256)
    chosen = found.going_on("int_w8a8_rtn")
    assert (chosen.recipe, chosen.calibration_samples) == (RTN, 0)
    assert chosen.options == found.options


def test_a_recipe_without_kernel_is_left_out_and_said_when_another_can_run() -> None:
    found = plan([W4, RTN])
    assert [o.recipe.name for o in found.options if o.recipe] == ["int_w8a8_rtn"]
    assert "no kernel on cpu" in found.left_out["int_w4a16"]
    assert found.warnings == (f"left out: {found.left_out['int_w4a16']}",)


def test_alone_it_is_refused_and_two_of_them_name_both() -> None:
    with pytest.raises(SpecError, match="int_w4a16 writes W4A16"):
        plan([W4])
    other = W4.model_copy(update={"name": "other"})
    with pytest.raises(SpecError, match=r"int_w4a16 writes.*other writes"):
        plan([W4, other])


def test_a_doubtful_scheme_is_tried_with_a_warning() -> None:
    found = plan([W4], TRIES_W4)
    assert found.left_out == {}
    assert "the job finds out after compression" in found.warnings[0]


def test_an_engine_that_is_too_old_is_named_with_its_version() -> None:
    new = RTN.model_copy(update={"engines": {"vllm": "0.11"}})
    with pytest.raises(SpecError, match=r"needs vllm 0\.11 or later, found 0\.9\.2"):
        plan([new], version="0.9.2")
    for known in ("0.11.0", "0.32.0+cpu", "1.0rc1", None):
        assert plan([new], version=known).recipe == new


def test_disk_holds_every_candidate() -> None:
    one, three = (plan([CALIBRATED], num_compression_trials=n) for n in (1, 3))
    assert three.disk_bytes - one.disk_bytes == 2 * one.weight_bytes
    assert one.disk_bytes == RECORDS_BYTES + one.baseline_weight_bytes + 2 * one.weight_bytes


def test_recipes_by_name_once() -> None:
    with pytest.raises(SpecError, match="int_w8a8 named twice"):
        OptimizationJob.parse(
            {
                "model": {"name": "m"},
                "compute": {"sku": "CPU_2"},
                "flow_params": {"recipe": ["int_w8a8", "int_w8a8"]},
            }
        )
