"""Tuning on the simulated engine, through the command line: killed and resumed, and bad input."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from optikit.api import Job
from optikit.spec.record import TuneRecord
from tests.running import run, submit, wait_for, write_spec

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(240)]

SPEC: dict[str, Any] = {
    "flow": "tune",
    "model": {"name": "qwen-2.5-7b"},
    "dataset": None,
    "engine": "simulated",
    "flow_params": {"num_trials": 12},
    "compute": {"sku": "H100_8"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 500 ms"],
    "method": {"max_search_s": 86400},
    "tuner": {"name": "gp_prior", "finalists": 2, "finalist_runs": 2},
}


def tuned(job: Job) -> TuneRecord:
    record = job.archive.records()["tune"]
    assert isinstance(record, TuneRecord)
    return record


def rate_of(record: TuneRecord) -> float:
    (winner,) = [t for t in record.trials if t.id == record.winner]
    assert winner.rate_rps is not None
    return winner.rate_rps / winner.serving.devices


def test_a_driver_that_is_killed_while_tuning_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = submit(tmp_path / "a", tmp_path, pool="inline", **SPEC)
    whole.result(timeout_s=200)
    job = submit(tmp_path / "b", tmp_path, pool="inline", **SPEC)
    wait_for(job, lambda event: event["kind"] == "trial" and event["trial"]["number"] == 3)
    os.kill(job.archive.of_kind("state")[-1]["pid"], signal.SIGKILL)
    until = time.monotonic() + 30  # a killed process holds its lock for an instant
    while job.archive.driver_alive() and time.monotonic() < until:
        time.sleep(0.1)
    before = {t.id: t for t in job.trials()}
    job.resume("inline").result(timeout_s=200)
    record = tuned(job)
    after = {t.id: t for t in job.trials()}
    assert {name: after[name] for name in before} == before, "a finished trial stays as it was"
    started = [event["trial"] for event in job.archive.of_kind("trial_started")]
    assert all(started.count(name) == 1 for name in before)
    searched = [t for t in record.trials if t.purpose == "tune"]
    assert len(searched) == 12
    configurations = [t.serving for t in searched]
    assert len(set(configurations)) == 12, "none is measured twice"
    assert rate_of(record) == pytest.approx(rate_of(tuned(whole)), rel=0.04)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flow_params": {"num_trials": 0}}, ("num_trials", "greater than or equal to 1")),
        (
            {"flow_params": {"space": {"max_num_seqs": []}}},
            ("flow_params.space.max_num_seqs", "at least 1 item"),
        ),
        (
            {"flow_params": {"space": {"max_num_seqs": [512], "max_num_batched_tokens": [64]}}},
            ("none of its", "Widen the space"),
        ),
        (
            {"model": {"name": "llama-70b"}, "compute": {"sku": "H100_1"}},
            ("llama-70b does not fit H100_1", "Choose a SKU with more memory"),
        ),
        (
            {"flow_params": {"space": {"extra_flags": {"warp-speed": [1, 2]}}}},
            ("warp", "simulated engine has no"),
        ),
        ({"tuner": "gp_prier"}, ("gp_prier", "did you mean 'gp_prior'")),
        ({"tuner": {"runner": "ray"}}, ("ray_tune", "packed")),
        ({"tuner": {"objective": "per_cost"}}, ("compute.prices", "H100_8")),
        ({"tuner": {"objective": "per_energy"}}, ("reports none", "per_gpu")),
        (
            {"tuner": {"storage": "postgresql://me:secret@db/x"}},
            ("tuner.storage", "password"),
        ),
        ({"tuner": {"storage": "postgresql://db/x"}}, ("gp_prior keeps", "tpe or tpe_warm")),
        ({"tuner": {"runner": "ray_tune"}}, ("ray_tune runs trials on", "inline")),
    ],
)
def test_bad_input_is_one_clear_message_before_anything_is_launched(
    tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    home = tmp_path / "home"
    said = run(home, "submit", write_spec(tmp_path, **{**SPEC, **changes}), code=2)
    for word in words:
        assert word in said
    assert "secret" not in said
    assert "Traceback" not in said
    assert not list(home.glob("jobs/*"))
