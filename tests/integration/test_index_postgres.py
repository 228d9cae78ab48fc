"""The index on a real PostgreSQL: its contract, a job's end, a service, a server that hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from optikit.api import ask_index
from optikit.archive import JobArchive
from optikit.errors import ArchiveError, BadInput
from optikit.index.store import Index
from optikit.index.telling import VARIABLE, tell_index
from tests import postgres
from tests.index_contract import IndexContract, ended
from tests.service_case import SPEC
from tests.services import by_command, running_service, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """Folder of a server's socket."""
    with postgres.server() as folder:
        yield folder


@pytest.fixture
def url(cluster: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a database that is new for each test."""
    with postgres.database(cluster, f"t{abs(hash(request.node.name))}") as found:
        yield found


class TestPostgres(IndexContract):
    @pytest.fixture
    def url(self, cluster: Path, request: pytest.FixtureRequest) -> Iterator[str]:
        with postgres.database(cluster, f"t{abs(hash(request.node.name))}") as found:
            yield found


def until(true: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.3)


def made(url: str, home: Path) -> None:
    """An index of an empty home."""
    index = Index(url, home)
    index.update(home)
    index.close()


def test_comments_of_the_tables_are_there_for_tools(url: str, tmp_path: Path) -> None:
    made(url, tmp_path)
    query = "SELECT obj_description('archive_jobs'::regclass)"
    assert ask_index(query, url, home=tmp_path)[1] == [("a row a job",)]


def test_a_query_that_would_write_by_a_function_leaves_nothing(url: str, tmp_path: Path) -> None:
    made(url, tmp_path)
    query = "WITH gone AS (DELETE FROM archive_homes RETURNING 1) SELECT * FROM gone"
    with pytest.raises(BadInput, match="refuses the query"):
        ask_index(query, url, home=tmp_path)
    with contextlib.suppress(BadInput):  # before PostgreSQL 16 a reading transaction may do this
        ask_index("SELECT lo_create(4711)", url, home=tmp_path)
    left = ask_index("SELECT count(*) FROM pg_largeobject_metadata", url, home=tmp_path)[1]
    assert left == [(0,)]


# psycopg's word on a connection that its server ended, and that SQLAlchemy dropped
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_goes_away_is_an_error_and_comes_back(
    tmp_path: Path, url: str, cluster: Path
) -> None:
    ended(tmp_path, "a", "job-1")
    index = Index(url, tmp_path)
    postgres.stop(cluster)
    try:
        with pytest.raises(ArchiveError, match="does not do what was asked"):
            index.update(tmp_path)
    finally:
        postgres.start(cluster)
    assert index.update(tmp_path).read == 1
    index.close()


# the thread that waits for the server is left behind, as it would be at a driver's end
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_hangs_costs_a_jobs_end_a_bounded_time(
    tmp_path: Path, url: str, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(tmp_path, "a", "job-1")
    archive = JobArchive(tmp_path, "job-1")
    made(url, tmp_path)
    monkeypatch.setenv(VARIABLE, url)
    postmaster = int((cluster / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    try:
        began = time.monotonic()
        tell_index(archive, patience_s=2.0)
        assert time.monotonic() - began < 4.0
    finally:
        os.kill(postmaster, signal.SIGCONT)
    (event,) = archive.of_kind("index_failed")
    assert "did not answer for 2 s" in event["error"]


def test_a_service_and_its_jobs_keep_the_index(tmp_path: Path, url: str) -> None:
    home = tmp_path / "home"
    with running_service(home, "--index", url) as service:
        job = service.server(None).submit(SPEC, 0, "k")
        assert wait_until(job, lambda s: s["state"] in ("done", "failed"))["state"] == "done"

        def found() -> list[dict[str, object]]:
            told = by_command(home, "list", "--index", url, "--state", "done", "--json")
            return list(json.loads(told.stdout))

        until(found)
        ((job_id, team),) = [(row["id"], row["team"]) for row in found()]
        assert (job_id, team) == (job.id, "default")
    told = by_command(
        home, "archive", "index", "--to", url, "--json",
        variables={"OPTIKIT_HOME": str(home)},
    )  # fmt: skip
    homes = {one["home"]: one for one in json.loads(told.stdout)["homes"]}
    assert homes[str(home / "teams" / "default")]["unchanged"] == 1
    query = "SELECT count(*) FROM archive_trials WHERE state = 'complete'"
    told = by_command(home, "archive", "query", query, "--index", url, "--json")
    assert json.loads(told.stdout)[0]["count"] >= 1


def test_a_job_that_ends_is_in_the_index_of_its_environment(tmp_path: Path, url: str) -> None:
    home, spec = tmp_path / "home", tmp_path / "job.json"
    spec.write_text(json.dumps(SPEC))
    own = {"OPTIKIT_HOME": str(home), VARIABLE: url}
    by_command(home, "submit", str(spec), variables=own)
    query = "SELECT state FROM archive_jobs"
    until(lambda: _answers(query, url, home) == [("done",)])


def _answers(query: str, url: str, home: Path) -> list[tuple[object, ...]]:
    """None yet where the driver has not told: it does so after the job's end."""
    try:
        return ask_index(query, url, home=home)[1]
    except BadInput:
        return []
