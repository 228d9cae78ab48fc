"""Benchmark on the simulated engine: the real loop, in virtual time, inside this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.errors import StageFailed
from optikit.pools.inline import POOLS
from optikit.runner import tools_for
from optikit.spec.plan import Plan
from optikit.spec.record import BenchmarkRecord
from optikit.stages.base import Inputs
from optikit.stages.benchmark import STAGE as BENCHMARK
from optikit.stages.fetch import STAGE as FETCH
from tests.unit.stages.test_simulated import plan


def benchmarked(home: Path, job: Plan) -> BenchmarkRecord:
    tools = tools_for(job, JobArchive.create(home, job, {}), POOLS, "none")
    assert tools.generator.name == "simulated"
    fetched = FETCH.run(tools, Inputs(), job, "d")
    with POOLS.open("benchmark") as pool:
        return BENCHMARK.run(replace(tools, pool=pool), Inputs(fetch=fetched), job, "d")


def asked(home: Path, seed: int = 0) -> Plan:
    return plan(
        home,
        flow="benchmark",
        engine={"name": "simulated", "flags": {"seed": seed}},
        slo=["p95(e2e) <= 2 s"],
        budget={"wall_time_s": 30},
    )


def test_a_rate_is_found_in_virtual_time_that_no_budget_of_real_time_bounds(
    tmp_path: Path,
) -> None:
    (trial,) = benchmarked(tmp_path, asked(tmp_path)).trials
    assert trial.rate is not None
    assert trial.rate.outcome == "pass"
    assert trial.measuring_s > 30, "virtual seconds"
    folder = next((tmp_path / "jobs").iterdir()) / "trials" / "b0-baseline"
    assert len(list(folder.glob("probe-*.jsonl"))) == len(trial.rate.probes)
    assert (folder / "engine.log").read_text().startswith("SIMULATED")


def test_the_same_seed_gives_the_same_probes(tmp_path: Path) -> None:
    first, again, other = (
        benchmarked(tmp_path / name, asked(tmp_path, seed)).trials[0].rate
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again
    assert first != other


def test_a_config_that_cannot_stand_is_a_failed_trial(tmp_path: Path) -> None:
    job = asked(tmp_path)
    wide = job.serving.model_copy(update={"tensor_parallel": 8})
    job = job.model_copy(update={"serving": wide, "baseline_serving": wide})
    with pytest.raises(StageFailed, match="8 devices, the SKU has 2"):
        benchmarked(tmp_path, job)
