"""RemoteJob over a cluster in memory: sending, following, ends."""

from __future__ import annotations

from typing import Any

import pytest

from optikit.errors import (
    BadInput,
    Cancelled,
    ClusterError,
    StageFailed,
    UnknownName,
    UnsafeInput,
)
from optikit.remote import job as module
from optikit.remote.job import RemoteJob, list_remote_jobs
from optikit.spec.job import OptimizationJob
from tests.ray_cluster import ClusterDouble
from tests.specs import small_plan

PLAN = small_plan(engine="simulated")
FACTS: dict[str, Any] = {
    "id": "job-1", "state": "running", "exit_code": None, "verdict": None, "message": "",
    "bundle": "/h/bundles/job-1", "corners": {},
}  # fmt: skip
DONE = {"kind": "state", "state": "done", "exit_code": 0, "verdict": "pass", "message": "good"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> ClusterDouble:
    double = ClusterDouble()
    monkeypatch.setattr(module, "RayJobs", lambda address: double)
    monkeypatch.setattr(module, "_POLL_S", 0.0)
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    return double


def submit(job_id: str | None = "job-1", spec: OptimizationJob = PLAN.job) -> RemoteJob:
    return RemoteJob.submit("http://head:8265", spec, job_id)


def spec(**changes: Any) -> OptimizationJob:
    return small_plan(**{"engine": "simulated", **changes}).job


# ---- sending


def test_a_job_goes_in_under_its_own_id_with_nothing_secret(
    cluster: ClusterDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    job = RemoteJob.submit("http://head:8265", PLAN.job, "job-1", home="~/kept", python="/py 3")
    assert (job.id, job.name) == ("job-1", "job-1")
    (sent,) = cluster.sent
    assert sent["entrypoint"] == "exec '/py 3' -m optikit.cluster_driver submission.json"
    assert sent["variables"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    assert OptimizationJob.parse(sent["told"]["spec"]) == PLAN.job
    assert (sent["told"]["job"], sent["told"]["home"]) == ("job-1", "~/kept")
    assert (sent["told"]["pool"], sent["told"]["code"][:7]) == ("ray", "sha256:")
    assert "hf_secret" not in repr((sent, cluster.jobs))


def test_a_second_submission_is_the_same_job(cluster: ClusterDouble) -> None:
    assert submit().name == submit().name == "job-1"
    assert len(cluster.sent) == 1


def test_a_spec_that_holds_a_secret_of_the_sender_stays_here(
    cluster: ClusterDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    with pytest.raises(UnsafeInput, match="value of HF_TOKEN"):
        submit(spec=spec(model={"name": "hf_secret_of_mine"}))
    assert cluster.sent == []


def test_an_id_of_another_spec_is_refused(cluster: ClusterDouble) -> None:
    submit()
    with pytest.raises(BadInput, match="job-1 of another spec; choose another"):
        submit(spec=spec(slo=["p95(e2e) <= 1 s"]))


def test_an_answer_that_was_lost_is_no_failure(cluster: ClusterDouble) -> None:
    cluster.loses_answers = True
    assert submit().name == "job-1"


def test_a_refusal_is_told(cluster: ClusterDouble) -> None:
    cluster.refuses = "no agent"
    with pytest.raises(ClusterError, match="no agent"):
        submit()


def test_ids_are_made_once_or_checked(cluster: ClusterDouble) -> None:
    assert submit(None).id.startswith("j2")
    with pytest.raises(BadInput, match="no job id"):
        submit("Job 1")


def test_another_ray_is_refused_before_anything_is_sent(cluster: ClusterDouble) -> None:
    cluster.ray_version = "2.1.0"
    with pytest.raises(BadInput, match=r"runs Ray 2.1.0.*ray\[default\]==2.1.0"):
        submit()
    assert cluster.sent == []


@pytest.mark.parametrize(
    ("changes", "home", "key"),
    [
        ({"engine": "vllm", "dataset": {"path": "data"}}, None, "dataset.path: data"),
        ({"quality": {"tasks": ["mine.yaml"]}}, None, "quality.tasks.0: mine.yaml"),
        ({}, "kept", "--home: kept"),
    ],
)
def test_paths_of_this_machines_folder_are_refused(
    cluster: ClusterDouble, changes: dict[str, Any], home: str | None, key: str
) -> None:
    with pytest.raises(BadInput, match=f"{key} is relative"):
        RemoteJob.submit("http://head:8265", spec(**changes), home=home)
    assert cluster.sent == []


# ---- finding


def test_jobs_are_found_by_id_beginning_and_last(cluster: ClusterDouble) -> None:
    submit("job-1")
    submit("other-2")
    for asked, found in (("job-1", "job-1"), ("ot", "other-2"), ("last", "other-2")):
        assert RemoteJob.open(asked, "http://head:8265").id == found
    with pytest.raises(UnknownName, match="did you mean 'job-1'"):
        RemoteJob.open("job-2", "http://head:8265")


def test_the_list_leaves_other_peoples_jobs_out(cluster: ClusterDouble) -> None:
    submit()
    cluster.becomes("job-1", "FAILED", 3)
    cluster.submit_stranger("raysubmit_1")
    (row,) = list_remote_jobs("http://head:8265")
    assert (row["id"], row["state"], row["model"]) == ("job-1", "negative", "m:1")
    assert row["simulated"] is True


# ---- following


def test_a_follower_sees_each_event_once_through_broken_connections(
    cluster: ClusterDouble,
) -> None:
    job = submit()
    cluster.plans(job.name, PLAN)
    cluster.logs[job.name] += "a library's line\n"
    cluster.says(job.name, {"kind": "summary", "facts": FACTS}, DONE)
    cluster.becomes(job.name, "SUCCEEDED", 0)
    cluster.breaks_at = [40, 11, 300]
    seen: list[dict[str, Any]] = []
    result = job.result(on_event=seen.append)
    kinds = [event["kind"] for event in seen]
    assert kinds == [
        *("state", "planned", "created", "state", "stage", "summary", "state"),
    ]
    assert (result.state, result.exit_code, result.verdict) == ("done", 0, "pass")
    assert job.logs() == "a library's line\n"
    assert "".join(job.log_lines()) == "a library's line\n"
    assert job.plan() == PLAN


def test_where_a_running_job_stands(cluster: ClusterDouble) -> None:
    job = submit()
    assert job.status()["state"] == "starting"
    cluster.becomes(job.name, "RUNNING")
    cluster.plans(job.name, PLAN)
    status = job.status()
    assert (status["state"], status["simulated"]) == ("running", True)
    stages = {stage["name"]: stage["state"] for stage in status["stages"]}
    assert (stages["tune"], stages["publish"]) == ("running", "waiting")
    with pytest.raises(BadInput, match="nothing to show yet"):
        job.summary()
    with pytest.raises(TimeoutError):
        job.result(timeout_s=0.0)


@pytest.mark.parametrize(
    ("events", "status", "error", "words"),
    [
        (
            [{"kind": "state", "state": "rejected", "exit_code": 2, "message": "no model m"}],
            "FAILED",
            BadInput,
            "no model m",
        ),
        (
            [{"kind": "state", "state": "failed", "exit_code": 1, "message": "boom"}],
            "FAILED",
            StageFailed,
            "boom",
        ),
        ([{"kind": "state", "state": "running"}], "FAILED", StageFailed, "optikit resume job-1"),
        ([{"kind": "state", "state": "running"}], "STOPPED", Cancelled, "was cancelled"),
    ],
)
def test_ends_without_a_result(
    cluster: ClusterDouble, events: list[Any], status: str, error: type[Exception], words: str
) -> None:
    job = submit()
    cluster.says(job.name, *events)
    cluster.becomes(job.name, status, 1)
    with pytest.raises(error, match=words):
        job.result()
    with pytest.raises(error, match=words):
        job.plan()


def test_what_only_the_archive_has_is_said(cluster: ClusterDouble) -> None:
    job = submit()
    with pytest.raises(BadInput, match="trial t1 lies on the cluster"):
        job.logs("t1")
    with pytest.raises(BadInput, match="drawn from the archive"):
        job.plots()


# ---- ending and going on


def test_cancel_waits_and_an_ended_job_is_left_alone(cluster: ClusterDouble) -> None:
    job = submit()
    cluster.becomes(job.name, "RUNNING")
    assert job.cancel() is True
    assert job.status()["state"] == "cancelled"
    assert job.cancel() is False


def test_a_job_that_does_not_stop_is_an_error(
    cluster: ClusterDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "stop", lambda name: True)
    job = submit()
    with pytest.raises(ClusterError, match="did not stop within 0 s"):
        job.cancel(patience_s=0.0)


def test_resume_sends_the_same_job_with_a_new_driver(cluster: ClusterDouble) -> None:
    job = submit()
    cluster.plans(job.name, PLAN)
    with pytest.raises(BadInput, match="nothing to resume"):
        job.resume()
    cluster.becomes(job.name, "FAILED", -9)
    again = RemoteJob.open("job-1", "http://head:8265").resume()
    assert (again.id, again.name) == ("job-1", "job-1.r2")
    assert [sent["told"]["job"] for sent in cluster.sent] == ["job-1", "job-1"]
    assert cluster.sent[1]["told"]["home"] == "/h"
    assert submit().name == "job-1.r2", "the same id again follows the last driver"
    cluster.plans(again.name, PLAN)
    cluster.becomes(again.name, "FAILED", -9)
    assert RemoteJob.open("job-1", "http://head:8265").resume().name == "job-1.r3"


def test_a_job_that_was_never_planned_has_nothing_to_go_on_from(cluster: ClusterDouble) -> None:
    job = submit()
    cluster.becomes(job.name, "FAILED", 1)
    with pytest.raises(BadInput, match="submit it anew"):
        job.resume()
