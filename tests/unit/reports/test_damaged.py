"""Archives whose files were cut or whose bits flipped: findings and clear errors, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optikit.archive import JobArchive
from optikit.errors import ArchiveError, OptikitError
from optikit.reports._raw import read_timings
from optikit.reports.check import check_archive
from optikit.reports.summary import state_of, summary
from optikit.spec.finding import ArchiveCheck
from tests.unit.reports.archive_case import copied, driven

Damage = Callable[[bytes], bytes]
TRIAL = "trials/b0-baseline"
slow = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> JobArchive:
    """One trial beside the default: quick to check, and to check again."""
    few = {"num_trials": 1, "space": {"tensor_parallel": [2], "max_num_seqs": [64]}}
    home = tmp_path_factory.mktemp("home")
    return driven(home, flow_params=few, tuner={"name": "grid", "finalists": 0, "transfer": False})


@pytest.fixture(scope="module")
def job(whole: JobArchive, tmp_path_factory: pytest.TempPathFactory) -> JobArchive:
    return copied(whole, tmp_path_factory.mktemp("copy") / "home")


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """A cut anywhere, or one to four bits flipped, at places given as shares of the length."""
    if draw(st.booleans()):
        share = draw(st.floats(0.0, 1.0))
        return lambda content: content[: int(share * len(content))]
    places = draw(
        st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 7)), min_size=1, max_size=4)
    )

    def flip(content: bytes) -> bytes:
        found = bytearray(content)
        for share, bit in places:
            if found:
                found[int(share * len(found))] ^= 1 << bit
        return bytes(found)

    return flip


def checked(job: JobArchive, name: str, damage: Damage) -> tuple[bytes, bytes, ArchiveCheck]:
    """Damage a file, check, and mend it again."""
    file = job.root / name
    before = file.read_bytes()
    after = damage(before)
    file.write_bytes(after)
    try:
        return before, after, check_archive(job)
    finally:
        file.write_bytes(before)


@slow
@given(damage=damages())
@pytest.mark.parametrize("name", ["probe-01.jsonl", "probe-03.jsonl"])
def test_a_damaged_raw_file_is_always_found(job: JobArchive, name: str, damage: Damage) -> None:
    """Whatever it says now: the journal has its digest."""
    before, after, found = checked(job, f"{TRIAL}/{name}", damage)
    assert found.clean == (before == after)


@slow
@given(damage=damages())
def test_a_damaged_serving_config_is_found_where_it_says_something_else(
    job: JobArchive, damage: Damage
) -> None:
    before, after, found = checked(job, f"{TRIAL}/serving.json", damage)
    try:
        same = json.loads(before) == json.loads(after)
    except ValueError:
        same = False
    assert found.clean == same


@slow
@given(damage=damages())
def test_a_damaged_plan_is_a_finding_or_says_the_same(job: JobArchive, damage: Damage) -> None:
    before, after, found = checked(job, "plan.json", damage)
    if before != after:
        assert found.findings or json.loads(after) != json.loads(before) or found.clean


@slow
@given(damage=damages())
def test_a_damaged_journal_never_ends_a_reader_otherwise_than_clearly(
    job: JobArchive, damage: Damage
) -> None:
    """A flipped bit is found by the line's checksum; a cut is what a crash leaves."""
    file = job.journal
    before = file.read_bytes()
    after = damage(before)
    file.write_bytes(after)
    try:
        found = check_archive(job)
        if len(after) == len(before) and after != before:
            assert not found.clean
        for read in (summary, state_of, JobArchive.trials, JobArchive.records, JobArchive.groups):
            try:
                read(job)
            except OptikitError as error:
                assert str(error)  # noqa: PT017
    finally:
        file.write_bytes(before)


@given(content=st.binary(max_size=400))
def test_no_file_is_read_otherwise_than_clearly(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("raw") / "probe.jsonl"
    file.write_bytes(content)
    with pytest.raises(ArchiveError):
        read_timings(file)


ROW = {
    "index": 0,
    "scheduled_s": 0.0,
    "sent_s": 0.0,
    "first_token_s": 0.1,
    "end_s": 0.2,
    "prompt_tokens": 8,
    "output_tokens": 4,
    "measured": True,
}


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1},
        {"sent_s": "0"},
        {"sent_s": True},
        {"sent_s": 10**400},
        {"end_s": 1e300},
        {"prompt_tokens": -1},
        {"prompt_tokens": 2**80},
        {"output_tokens": 1.5},
        {"measured": 1},
        {"measured": False},
        {"error": 7},
        {"token_s": [0.1, None]},
        {"more": 1},
    ],
)
def test_a_row_that_is_no_request_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "probe.jsonl"
    file.write_text(json.dumps(ROW) + "\n")
    assert len(read_timings(file)) == 1
    file.write_text(json.dumps({**ROW, **change}) + "\n")
    with pytest.raises(ArchiveError, match=r"probe\.jsonl"):
        read_timings(file)
