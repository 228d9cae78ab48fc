"""What each stage holds; what of a stage's attempts is written down is in test_tune.py."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.api import Submitter
from optikit.errors import SpecError
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.stages.base import stage_devices, stage_resources
from tests.specs import small_plan

GIB = 2**30


def simulated(sku: str, holds: bool = True, **compute: Any) -> Plan:
    """A whole job of a 7B model that holds its devices."""
    spec = {
        "model": {"name": "qwen-2.5-7b"},
        "engine": {"name": "simulated", "hold_devices": holds},
        "compute": {"sku": sku, **compute},
        "flow_params": {
            "recipe": ["int_w8a8", "int_w4a16"],
        },
    }
    return Submitter().plan(OptimizationJob.parse(spec))


def held(plan: Plan) -> dict[str, int]:
    return {name: stage_devices(name, plan) for name in plan.flow.stages}


def test_each_stage_holds_the_devices_that_it_uses() -> None:
    """One candidate of each recipe at once, one server of the default degree, trials on the whole
    SKU."""
    plan = simulated("H100_8")
    assert held(plan) == {
        "fetch": 0,
        "compress": 2,
        "evaluate": 1,
        "benchmark": 1,
        "tune": 8,
        "publish": 0,
    }
    tune = stage_resources("tune", plan)
    assert tune is not None
    assert (tune.gpus, tune.cpus, tune.accelerator) == (8, 96, "H100")
    assert stage_resources("publish", plan) is None


def test_compression_holds_no_more_than_the_sku_has() -> None:
    assert held(simulated("A100_1"))["compress"] == 1


def test_on_paper_nothing_is_held() -> None:
    paper = simulated("H100_8", holds=False)
    assert set(held(paper).values()) == {0}
    assert stage_resources("tune", paper) is None


def test_a_cpu_sku_is_one_device_with_its_cores() -> None:
    plan = small_plan()
    assert held(plan)["tune"] == 1
    tune = stage_resources("tune", plan)
    assert tune is not None
    assert (tune.cpus, tune.gpus) == (2, 0)


def test_sizes_of_a_stage_are_the_jobs_to_choose() -> None:
    sizes = {"compress": {"memory_gib": 200}, "fetch": {"memory_gib": 4, "workers": 1}}
    plan = simulated("H100_8", cpus_per_device=6.5, stages=sizes)
    compress, fetch = stage_resources("compress", plan), stage_resources("fetch", plan)
    assert compress is not None
    assert fetch is not None
    assert (compress.cpus, compress.memory_bytes) == (13, 200 * GIB)
    assert (fetch.cpus, fetch.memory_bytes) == (1, 4 * GIB)


def test_a_size_of_an_unknown_stage_is_refused() -> None:
    with pytest.raises(SpecError, match=r"unknown stage 'compres'; did you mean 'compress'"):
        small_plan(compute={"sku": "CPU_2", "stages": {"compres": {"workers": 1}}})


def test_only_a_simulated_engine_is_told_to_hold_devices() -> None:
    with pytest.raises(SpecError, match=r"engine\.hold_devices: the engine vllm holds"):
        small_plan(engine={"name": "vllm", "hold_devices": True})
