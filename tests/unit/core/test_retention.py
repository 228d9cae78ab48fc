"""What may go: whatever was seen and asked, what somebody needs stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.retention import GRACE_S, age_s, decide, size_bytes, states_of
from optikit.errors import BadInput
from optikit.spec.retention import (
    ENDED,
    REMOVABLE,
    CacheSeen,
    Decision,
    JobSeen,
    ModelSeen,
    Policy,
    Seen,
)

NOW = 1_000_000_000.0
DAY = 86_400.0
DIGESTS = [format(number, "x") * 64 for number in range(6)]
STATES = sorted(REMOVABLE | {"running", "damaged"})

digests = st.frozensets(st.sampled_from(DIGESTS), max_size=3)
ages = st.integers(0, 100).map(lambda days: NOW - days * DAY)


@st.composite
def jobs(draw: st.DrawFn, number: int) -> JobSeen:
    ended_s = draw(ages)
    state = draw(st.sampled_from(STATES))
    return JobSeen(
        id=f"job-{number}",
        state=state,
        held=state in ("running", "damaged") or draw(st.booleans()),
        published=draw(st.booleans()),
        began_s=ended_s - draw(st.integers(0, 3)) * DAY,
        ended_s=ended_s,
        last_s=ended_s,
        bytes=draw(st.integers(0, 50)),
        names=draw(digests),
        ships=draw(digests),
    )


@st.composite
def homes(draw: st.DrawFn) -> Seen:
    there = draw(st.lists(st.sampled_from(DIGESTS), unique=True))
    found = tuple(draw(jobs(number)) for number in range(draw(st.integers(0, 6))))
    artifacts = tuple(
        ModelSeen(
            digest=digest,
            bytes=draw(st.integers(0, 1000)),
            touched_s=draw(ages),
            linked=draw(st.booleans()) and draw(st.booleans()),
        )
        for digest in there
    )
    baselines = tuple(
        CacheSeen(key=f"base-{number}", bytes=draw(st.integers(0, 9)), used_s=draw(ages))
        for number in range(draw(st.integers(0, 2)))
    )
    leftovers = draw(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9)))
    items: list[JobSeen | ModelSeen | CacheSeen] = [*found, *artifacts, *baselines]
    return Seen(
        jobs=found,
        artifacts=artifacts,
        baselines=baselines,
        leftovers=leftovers,
        registered=draw(digests),
        bundled=draw(digests),
        total_bytes=sum(item.bytes for item in items) + sum(leftovers.values()) + 100,
    )


policies = st.builds(
    Policy,
    older_than_s=st.none() | st.integers(0, 100).map(lambda days: days * DAY),
    keep_under_bytes=st.none() | st.integers(0, 3000),
    states=st.none() | st.frozensets(st.sampled_from(sorted(REMOVABLE)), min_size=1),
    shipped_only=st.booleans(),
)


def gone(decision: Decision, kind: str) -> set[str]:
    return {item.name for item in decision.remove if item.kind == kind}


def without(seen: Seen, decision: Decision) -> Seen:
    """The home afterwards."""
    return Seen(
        jobs=tuple(job for job in seen.jobs if job.id not in gone(decision, "job")),
        artifacts=tuple(
            one for one in seen.artifacts if one.digest not in gone(decision, "artifact")
        ),
        baselines=tuple(one for one in seen.baselines if one.key not in gone(decision, "baseline")),
        registered=seen.registered,
        bundled=seen.bundled,
        total_bytes=decision.left_bytes,
    )


@given(homes(), policies)
def test_what_a_bundle_or_a_registered_model_needs_never_goes(seen: Seen, policy: Policy) -> None:
    decision = decide(seen, policy, NOW)
    needed = seen.registered | seen.bundled
    needed |= {artifact.digest for artifact in seen.artifacts if artifact.linked}
    assert gone(decision, "artifact").isdisjoint(needed)
    assert gone(decision, "job").isdisjoint(job.id for job in seen.jobs if job.published)


@given(homes(), policies)
def test_a_job_that_lives_never_goes_and_one_that_could_go_on_only_when_named(
    seen: Seen, policy: Policy
) -> None:
    states = {job.id: job for job in seen.jobs}
    for name in gone(decide(seen, policy, NOW), "job"):
        job = states[name]
        assert not job.held
        assert job.state in (ENDED if policy.states is None else policy.states)
        assert policy.older_than_s is None or NOW - job.ended_s >= policy.older_than_s


@given(homes(), policies)
def test_a_job_that_stays_keeps_what_it_names(seen: Seen, policy: Policy) -> None:
    decision = decide(seen, policy, NOW)
    for job in without(seen, decision).jobs:
        stripped = policy.shipped_only and job.state in ENDED and not job.held
        kept = job.ships if stripped else job.names | job.ships
        assert gone(decision, "artifact").isdisjoint(kept)
        taken = set(decision.stripped.get(job.id, ()))
        assert taken == gone(decision, "artifact") & job.names


@given(homes(), policies)
def test_what_was_taken_while_a_job_runs_stays(seen: Seen, policy: Policy) -> None:
    decision = decide(seen, policy, NOW)
    since = min([NOW - GRACE_S, *(job.began_s for job in seen.jobs if job.held)])
    late = {artifact.digest for artifact in seen.artifacts if artifact.touched_s >= since}
    assert gone(decision, "artifact").isdisjoint(late)


@given(homes(), policies)
def test_everything_is_either_removed_or_kept_with_a_reason(seen: Seen, policy: Policy) -> None:
    decision = decide(seen, policy, NOW)
    removed = [(item.kind, item.name) for item in decision.remove]
    kept = [(item.kind, item.name) for item in decision.keep]
    count = len(seen.jobs) + len(seen.artifacts) + len(seen.baselines) + len(seen.leftovers)
    assert len(removed) + len(kept) == count
    assert set(removed).isdisjoint(kept)
    assert all(item.why for item in decision.remove)
    assert all(item.why for item in decision.keep)
    assert decision.freed_bytes == sum(item.bytes for item in decision.remove)
    assert decision.left_bytes == seen.total_bytes - decision.freed_bytes


@given(homes(), policies)
def test_a_second_time_nothing_goes(seen: Seen, policy: Policy) -> None:
    again = decide(without(seen, decide(seen, policy, NOW)), policy, NOW)
    assert again.remove == ()


@given(homes(), policies, st.integers(0, 50))
def test_a_higher_age_removes_no_more(seen: Seen, policy: Policy, days: int) -> None:
    policy = policy.model_copy(update={"keep_under_bytes": None, "older_than_s": 10 * DAY})
    older = policy.model_copy(update={"older_than_s": (10 + days) * DAY})
    few, many = decide(seen, older, NOW), decide(seen, policy, NOW)
    for kind in ("job", "artifact", "baseline"):
        assert gone(few, kind) <= gone(many, kind)


@given(homes(), policies, st.integers(0, 3000))
def test_a_size_takes_the_oldest_and_no_more_than_it_must(
    seen: Seen, policy: Policy, size: int
) -> None:
    all_of_it = decide(seen, policy.model_copy(update={"keep_under_bytes": 0}), NOW)
    some = decide(seen, policy.model_copy(update={"keep_under_bytes": size}), NOW)
    order = [i for i in all_of_it.remove if i.kind in ("job", "baseline")]
    taken = [i for i in some.remove if i.kind in ("job", "baseline")]
    assert taken == order[: len(taken)], "the oldest first"
    if some.left_bytes > size:
        assert some.remove == all_of_it.remove, "nothing else could go"
    elif taken:
        rest = {item.name for item in taken[:-1]}
        jobs = tuple(
            job if job.id in rest else job.model_copy(update={"published": True})
            for job in seen.jobs
        )
        caches = tuple(one for one in seen.baselines if one.key in rest)
        fewer = seen.model_copy(update={"jobs": jobs, "baselines": caches})
        before = decide(fewer, policy.model_copy(update={"keep_under_bytes": 0}), NOW)
        assert before.left_bytes > size, "without the last one it was too much"


def home(**changes: Any) -> Seen:
    job = JobSeen(
        id="job-1",
        state="done",
        held=False,
        published=False,
        began_s=NOW - 41 * DAY,
        ended_s=NOW - 40 * DAY,
        last_s=NOW - 40 * DAY,
        bytes=5,
        names=frozenset(DIGESTS[:2]),
    )
    artifacts = tuple(
        ModelSeen(digest=digest, bytes=100, touched_s=NOW - 40 * DAY) for digest in DIGESTS[:3]
    )
    facts: dict[str, Any] = {"jobs": (job,), "artifacts": artifacts, "total_bytes": 305}
    return Seen(**facts).model_copy(update=changes)


def test_an_old_job_goes_with_what_only_it_needs() -> None:
    asked = Policy(older_than_s=30 * DAY)
    found = decide(home(registered=frozenset({DIGESTS[0]})), asked, NOW)
    assert [(item.kind, item.name) for item in found.remove] == [
        ("job", "job-1"),
        ("artifact", DIGESTS[1]),
        ("artifact", DIGESTS[2]),
    ]
    assert (found.freed_bytes, found.left_bytes) == (205, 100)
    assert "40.0 days ago" in found.remove[0].why
    assert [item.why for item in found.keep] == ["a registered model"]


def test_without_an_age_size_or_state_no_job_goes() -> None:
    found = decide(home(), Policy(), NOW)
    assert [item.name for item in found.remove] == [DIGESTS[2]]
    assert found.keep[0].why == "no age, size or state was given"


def test_only_what_shipped_is_kept_of_an_ended_job() -> None:
    (job,) = home().jobs
    published = job.model_copy(update={"published": True, "ships": frozenset({DIGESTS[0]})})
    found = decide(home(jobs=(published,)), Policy(shipped_only=True), NOW)
    assert gone(found, "artifact") == {DIGESTS[1], DIGESTS[2]}
    assert found.stripped == {"job-1": (DIGESTS[1],)}
    resumable = published.model_copy(update={"state": "failed"})
    assert gone(decide(home(jobs=(resumable,)), Policy(shipped_only=True), NOW), "artifact") == {
        DIGESTS[2]
    }


def test_a_job_that_was_opened_just_now_waits_for_its_driver() -> None:
    (job,) = home().jobs
    asked = Policy(states=frozenset({"starting"}))
    new = job.model_copy(update={"state": "starting", "began_s": NOW - 5, "ended_s": NOW - 5})
    assert gone(decide(home(jobs=(new,)), asked, NOW), "job") == set()
    assert gone(decide(home(jobs=(new,)), asked, NOW + GRACE_S), "job") == {"job-1"}


def test_a_size_that_is_met_takes_nothing() -> None:
    assert gone(decide(home(), Policy(keep_under_bytes=205), NOW), "job") == set()
    found = decide(home(), Policy(keep_under_bytes=204), NOW)
    assert gone(found, "job") == {"job-1"}
    assert found.left_bytes == 0


def test_scores_go_by_age_or_size_never_by_the_states_of_jobs() -> None:
    cache = CacheSeen(key="k", bytes=1, used_s=NOW - 50 * DAY)
    seen = home(baselines=(cache,))
    assert gone(decide(seen, Policy(states=frozenset({"failed"})), NOW), "baseline") == set()
    assert gone(decide(seen, Policy(older_than_s=DAY), NOW), "baseline") == {"k"}
    assert gone(decide(seen, Policy(older_than_s=60 * DAY), NOW), "baseline") == set()


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY), ("2W", 14 * DAY), ("1.5h", 5400), ("0s", 0)]
)
def test_ages(text: str, seconds: float) -> None:
    assert age_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("500GB", 5 * 10**11), ("1.5 TB", 15 * 10**11), ("0b", 0)]
)
def test_sizes(text: str, count: int) -> None:
    assert size_bytes(text) == count


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1e9d", "30 days", "nan s"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(BadInput, match="30d"):
        age_s(text)


@pytest.mark.parametrize("text", ["", "500", "500 GiB", "-1GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(BadInput, match="500GB"):
        size_bytes(text)


def test_states_that_can_be_named() -> None:
    assert states_of([]) is None
    assert states_of(["failed", "done"]) == frozenset({"failed", "done"})
    for word in ("running", "queued"):
        with pytest.raises(BadInput, match="cancel it"):
            states_of([word])
    with pytest.raises(BadInput, match="did you mean 'failed'"):
        states_of(["faild"])
