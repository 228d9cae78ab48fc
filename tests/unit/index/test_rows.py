"""What the rows of a job are; the index's contract compares them with the archive."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.index.rows import _plain, damaged, rows_of
from optikit.index.tables import JOBS, OF_A_JOB
from tests.unit.reports.archive_case import altered

WRITTEN = Path(__file__).parents[2] / "written" / "record-1"


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    """A job that compressed, tuned and published, written by an earlier version."""
    shutil.copytree(WRITTEN, tmp_path / "jobs" / "written")
    return JobArchive(tmp_path, "written")


def test_every_column_is_filled_and_no_other_is_made(archive: JobArchive) -> None:
    rows = rows_of(archive)
    own = {"home_id", "job_id", "removed_at", "indexed_at", "seen"}
    for table in (JOBS, *OF_A_JOB):
        columns = {column.name for column in table.columns} - own
        for row in rows[table.name]:
            assert set(row) == columns, table.name
    assert all(rows[table.name] for table in OF_A_JOB if table.name != "archive_certificates")


def test_a_compressed_candidate_has_its_verdict(archive: JobArchive) -> None:
    (row,) = rows_of(archive)["archive_candidates"]
    assert (row["candidate_id"], row["goes_on"]) == ("c0-fp8_dynamic", True)
    assert (row["quality"], row["recovery"]) == ("cannot tell", None)


def test_candidates_of_a_job_at_work_are_there_before_its_stage_ends(archive: JobArchive) -> None:
    whole = archive.journal.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(whole) if b'"kind": "candidate"' in line)
    archive.journal.write_bytes(b"".join(whole[: at + 1]))
    (row,) = rows_of(archive)["archive_candidates"]
    assert (row["recipe"], row["goes_on"], row["quality"]) == ("fp8_dynamic", False, None)


def test_an_event_of_another_shape_is_a_damaged_archive(archive: JobArchive) -> None:
    altered(archive, lambda event: event["kind"] == "stage", lambda event: event.pop("state"))
    with pytest.raises(OptikitError, match="is not what it should be: KeyError"):
        rows_of(archive)
    (row,) = damaged(archive, "why")["archive_jobs"]
    assert (row["state"], row["message"]) == ("damaged", "why")
    assert row["created_at"].timestamp() == pytest.approx(archive.created())


def test_values_are_what_every_database_takes() -> None:
    strange = {"a": [math.nan, math.inf, 1.5], "b": ("x\x00y", "\udfff"), "c": None, "d": True}
    assert _plain(strange) == {"a": [None, None, 1.5], "b": ["x�y", "?"], "c": None, "d": True}
