"""A whole simulated job whose logs are JSON: each record says where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optikit.adapters.jsonlog import FORMAT
from optikit.api import Submitter
from optikit.core.spans import spans_of, trace_id_of
from optikit.errors import BadInput
from optikit.spec.job import OptimizationJob
from tests.json_log import Output
from tests.unit.reports.archive_case import SPEC, driven


def test_every_record_carries_the_ids_that_the_trace_has(
    begin: Callable[[], Output], tmp_path: Path
) -> None:
    output = begin()
    few = {"num_trials": 1, "space": {"tensor_parallel": [1], "max_num_seqs": [64]}}
    archive = driven(tmp_path, flow_params=few, tuner={**SPEC["tuner"], "finalists": 0})
    records = [r for r in output.records() if r.get("event") != "created"]
    assert {record["job"] for record in records} == {archive.job_id}
    assert {record["trace_id"] for record in records} == {trace_id_of(archive.job_id)}
    spans = {s.span_id: s for s in spans_of(archive.job_id, list(archive.events()))}
    names = {spans[record["span_id"]].name for record in records if "span_id" in record}
    assert {"job", "stage benchmark", "stage tune", "trial"} <= names
    mine = [r for r in records if r.get("trial") == "t00-baseline" and "attempt" in r]
    assert {spans[r["span_id"]].attributes["optikit.trial.id"] for r in mine} == {"t00-baseline"}
    assert {(r["stage"], r["attempt"]) for r in mine} == {("tune", 1)}
    kinds = {record["event"] for record in mine if "event" in record}
    assert {"placed", "engine_ready", "probe"} <= kinds
    (said,) = [record for record in mine if record["logger"] == "engine"]
    assert said["message"].startswith("SIMULATED")


def test_an_unknown_format_is_refused_before_a_job_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORMAT, "yaml")
    with pytest.raises(BadInput, match="OPTIKIT_LOG_FORMAT is 'yaml'"):
        Submitter(tmp_path).submit(OptimizationJob.parse(SPEC))
    assert list(tmp_path.glob("jobs/*")) == []
