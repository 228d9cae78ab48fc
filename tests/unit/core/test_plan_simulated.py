"""What a plan leaves out where the engine is a model of a server."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.core.plan import RECORDS_BYTES, make_plan
from optikit.errors import SpecError
from optikit.flows import FLOWS
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from tests.specs import ENGINE, RTN, SMALL

CALIBRATED = RTN.model_copy(update={"needs_calibration": True, "default_samples": 256})


def plan(simulated: bool, sku: str = "H100_1", **spec: Any) -> Plan:
    job = OptimizationJob.parse(
        {
            "model": {"name": "m"},
            "compute": {"sku": sku},
            "flow_params": {"num_trials": 2},
            **spec,
        }
    )
    engine = ENGINE.model_copy(update={"simulated": simulated})
    return make_plan(job, FLOWS.load(job.flow), SMALL, engine, [CALIBRATED])


def test_no_calibration_text_no_disk_and_seconds() -> None:
    found = plan(simulated=True)
    assert found.simulated
    assert found.calibration_samples == 0
    assert found.disk_bytes == RECORDS_BYTES
    assert found.estimate_s < 60
    assert found.warnings == ()
    with pytest.raises(SpecError, match="needs calibration text"):
        plan(simulated=False)


def test_a_dataset_that_is_not_read_is_said() -> None:
    dataset = {"path": "/no/such/folder"}
    (warning,) = plan(simulated=True, dataset=dataset).warnings
    assert "/no/such/folder is not read" in warning
    real = plan(simulated=False, dataset=dataset)
    assert (real.calibration_samples, real.warnings, real.simulated) == (256, (), False)


def test_a_speed_that_nobody_knows_is_not_simulated() -> None:
    with pytest.raises(SpecError, match="int8, whose speed on CPU_2 is not known"):
        plan(simulated=True, sku="CPU_2")
    assert plan(simulated=False, sku="CPU_2", dataset={"path": "x"}).sku.kind == "cpu"
