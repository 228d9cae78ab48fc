"""What leaves a cache of bounded size: only what may, the oldest first, and no more than asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from optikit.core.eviction import evict
from optikit.core.retention import GRACE_S
from optikit.spec.retention import ENDED, JobSeen, ModelSeen, Seen
from tests.unit.core.test_retention import DAY, DIGESTS, NOW, homes

A, B, C = DIGESTS[:3]


def model(digest: str, days: float, size: int = 100) -> ModelSeen:
    return ModelSeen(digest=digest, bytes=size, touched_s=NOW - days * DAY)


def job(state: str, *names: str, held: bool = False) -> JobSeen:
    at_s = NOW - 20 * DAY
    return JobSeen(
        id="j",
        state=state,
        held=held,
        published=False,
        began_s=at_s,
        ended_s=at_s,
        last_s=at_s,
        bytes=1,
        names=frozenset(names),
    )


def gone(seen: Seen, limit: int, coming: int = 0) -> list[str]:
    return [item.name for item in evict(seen, set(DIGESTS), limit, coming, NOW).remove]


def test_the_oldest_leave_until_what_comes_fits() -> None:
    seen = Seen(artifacts=(model(A, 1), model(B, 3), model(C, 2)))
    assert gone(seen, 300) == []
    assert gone(seen, 300, coming=1) == [B]
    assert gone(seen, 300, coming=150) == [B, C]
    assert gone(seen, 0, coming=1) == [B, C, A]


def test_what_did_not_come_from_elsewhere_neither_counts_nor_goes() -> None:
    seen = Seen(artifacts=(model(A, 9, 1000), model(B, 3)))
    decision = evict(seen, {B}, 100, 0, NOW)
    assert (decision.remove, decision.left_bytes) == ((), 100)


def test_ended_jobs_lose_their_inputs_and_it_is_written_down() -> None:
    seen = Seen(artifacts=(model(A, 30),), jobs=(job("done", A),))
    decision = evict(seen, {A}, 0, 0, NOW)
    assert [item.name for item in decision.remove] == [A]
    assert decision.stripped == {"j": (A,)}
    for state in ("failed", "cancelled", "interrupted"):
        assert gone(Seen(artifacts=(model(A, 30),), jobs=(job(state, A),)), 0) == []
    assert gone(Seen(artifacts=(model(A, 30),), jobs=(job("done", A, held=True),)), 0) == []


@given(homes(), st.sets(st.sampled_from(DIGESTS)), st.integers(0, 3000), st.integers(0, 1000))
def test_nothing_that_is_needed_goes_and_no_more_than_asked(
    seen: Seen, fetched: set[str], limit: int, coming: int
) -> None:
    decision = evict(seen, fetched, limit, coming, NOW)
    by_digest = {one.digest: one for one in seen.artifacts}
    removed = [by_digest[item.name] for item in decision.remove]
    needed = {d for j in seen.jobs if j.held or j.state not in ENDED for d in j.names | j.ships}
    for one in removed:
        assert one.digest in fetched - needed - seen.registered - seen.bundled
        assert not one.linked
        assert one.touched_s < NOW - GRACE_S
    before = sum(one.bytes for one in seen.artifacts if one.digest in fetched) + coming
    assert decision.left_bytes == before - sum(one.bytes for one in removed)
    if removed:  # without the last of them it was too much
        assert decision.left_bytes + removed[-1].bytes > limit
    assert [one.touched_s for one in removed] == sorted(one.touched_s for one in removed)
