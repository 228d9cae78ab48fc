"""Trials as rows, as a data frame and in a notebook."""

from __future__ import annotations

import sys

import pytest

from optikit.errors import OptikitError
from optikit.reports.notebook import job_html, result_html
from optikit.reports.trials import Trials
from optikit.spec.candidate import ArtifactRef
from optikit.spec.engine_metrics import EngineMetrics
from optikit.spec.record import Trial
from tests.unit.stages.publish_case import trial

MODEL = ArtifactRef(kind="model", digest=f"sha256:{'0' * 64}", path="/m", size_bytes=1)
GOOD = trial("t-000", MODEL, "compressed", 8.0)
MISSED = trial("t-001", MODEL, "compressed", None)


def served(given: Trial, **serving: object) -> Trial:
    return given.model_copy(update={"serving": given.serving.model_copy(update=serving)})


def test_a_row_has_the_figures_and_every_argument() -> None:
    wide = served(GOOD, tensor_parallel=2, extra_flags=(("block-size", 32),))
    good, missed = Trials([wide, MISSED]).rows()
    assert (good["id"], good["outcome"], good["requests"]) == ("t-000", "pass", 60)
    assert (good["rate_rps"], good["rate_per_device_rps"]) == (8.0, 4.0)
    assert (good["tensor_parallel"], good["max_num_seqs"], good["flag.block-size"]) == (2, 16, 32)
    assert (missed["outcome"], missed["rate_rps"], missed["rate_per_device_rps"]) == (
        "infeasible",
        None,
        None,
    )
    assert "extra_flags" not in good


def test_a_frame_has_a_row_a_trial_also_where_flags_differ() -> None:
    frame = Trials([GOOD, served(MISSED, extra_flags=(("swap-space", 4),))]).frame()
    assert list(frame.index) == ["t-000", "t-001"]
    assert frame.loc["t-000", "rate_rps"] == 8.0
    assert frame["rate_rps"].isna().tolist() == [False, True]
    assert frame["flag.swap-space"].tolist()[1] == 4
    assert frame.max_num_seqs.tolist() == [16, 16]


def test_a_row_has_what_the_engine_said_where_it_said_anything() -> None:
    said = EngineMetrics(file="f", digest="d", scrapes=2, kv_cache_peak=0.5, preemptions=0)
    told = GOOD.model_copy(update={"engine_metrics": said})
    first, second = Trials([told, MISSED]).rows()
    assert (first["engine.kv_cache_peak"], first["engine.preemptions"]) == (0.5, 0)
    assert first["engine.prefix_cache_hit_rate"] is None
    assert not [name for name in second if name.startswith("engine.")]


def test_a_frame_of_no_trials_has_its_columns() -> None:
    frame = Trials().frame()
    assert len(frame) == 0
    assert {"rate_rps", "tensor_parallel", "outcome"} <= set(frame.columns)


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptikitError, match=r"pip install 'optikit\[tune\]'"):
        Trials([GOOD]).frame()
    assert len(Trials([GOOD]).rows()) == 1


def test_a_notebook_shows_the_last_trials_and_how_many_there_were() -> None:
    many = [GOOD.model_copy(update={"id": f"t-{number:03d}"}) for number in range(60)]
    shown = Trials(many)._repr_html_()
    assert "60 trials" in shown
    assert "and 10 more" in shown
    assert "t-059" in shown
    assert "t-009" not in shown


def test_a_job_and_its_result_are_told_with_what_is_simulated() -> None:
    stages = [{"name": "fetch", "state": "done", "seconds": 75.0}]
    job = job_html(
        {"id": "j1", "state": "failed", "message": "<b>no", "simulated": True, "stages": stages}
    )
    for word in ("j1", "SIMULATED", "failed", "&lt;b&gt;no", "fetch", "1 min 15 s"):
        assert word in job
    corner = {
        "rate_rps": 12.5,
        "rate_per_gpu": 6.25,
        "slo_met": True,
        "reason": None,
        "preliminary": False,
        "gain": 1.25,
    }
    result = result_html(
        {"id": "j1", "state": "done", "corners": {"baseline": corner}, "bundle": "/b"}
    )
    for word in ("Result of j1", "Baseline", "12.5", "/b"):
        assert word in result
