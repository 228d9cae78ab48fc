"""What an index promises on every kind of database; inherited for each."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from optikit.adapters.sql import sa
from optikit.archive import JobArchive
from optikit.errors import BadInput
from optikit.index.store import Index
from optikit.index.tables import FACTS, OF_A_JOB, SCHEMA
from optikit.jobs import list_jobs
from optikit.reports.summary import summary
from optikit.spec.listing import Wanted
from optikit.spec.queue import Ticket
from tests.specs import small_plan
from tests.unit.reports.archive_case import driven


def ended(home: Path, name: str, job_id: str, state: str = "done", team: str | None = None) -> None:
    """A job without trials."""
    plan = small_plan(flow="benchmark", model={"name": name, "version": "2"})
    archive = JobArchive.create(home, plan, {}, job_id)
    if team is not None:
        archive.enqueue(Ticket(team=team, since_s=1.0))
    archive.event("state", state=state, exit_code=0, verdict="pass", message="")


class IndexContract:
    """Inherit it and give a fixture ``url``: of a database that is empty, with nobody at it."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory: pytest.TempPathFactory) -> JobArchive:
        """A job with trials, run to its end."""
        return driven(tmp_path_factory.mktemp("whole") / "home")

    @pytest.fixture
    def home(self, tmp_path: Path, whole: JobArchive) -> Path:
        shutil.copytree(whole.home, tmp_path / "home", symlinks=True)
        return tmp_path / "home"

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        raise NotImplementedError

    def rows(self, url: str, home: Path, query: str) -> list[tuple[object, ...]]:
        index = Index(url, home, read_only=True)
        try:
            return index.ask(query, 1000)[1]
        finally:
            index.close()

    def test_figures_are_those_of_the_archive(
        self, url: str, home: Path, whole: JobArchive
    ) -> None:
        index = Index(url, home)
        assert index.update(home).read == 1
        facts, trials = summary(whole), whole.trials()
        (job,) = self.rows(
            url,
            home,
            "SELECT state, trials, baseline_per_device_rps, tuned_per_device_rps, simulated, slo,"
            " model_name, winner FROM archive_jobs",
        )
        corners = facts["corners"]
        assert job[:4] == (
            *("done", len(trials)),
            *(corners[name]["rate_per_gpu"] for name in ("baseline", "tuned")),
        )
        assert (bool(job[4]), *job[5:]) == (True, facts["slo"][0], "qwen-2.5-7b", facts["winner"])
        found = self.rows(
            url,
            home,
            "SELECT trial_id, rate_rps, tensor_parallel, device_seconds, serving_digest"
            " FROM archive_trials ORDER BY trial_id",
        )
        assert found == sorted(
            (t.id, t.rate_rps, t.serving.tensor_parallel, t.device_seconds, t.serving.digest)
            for t in trials
        )
        ((probes, requests),) = self.rows(
            url, home, "SELECT count(*), sum(requests) FROM archive_probes"
        )
        seen = [probe for t in trials if t.rate for probe in t.rate.probes]
        assert (probes, requests) == (len(seen), sum(p.measurement.requests for p in seen))
        stages = self.rows(url, home, "SELECT stage, state FROM archive_stages ORDER BY position")
        assert stages == [(row["name"], row["state"]) for row in facts["stages"]]
        ((status, rate),) = self.rows(
            url, home, "SELECT status, rate_rps FROM archive_certificates"
        )
        assert facts["certificate"] is not None
        shipped = json.loads(Path(facts["certificate"]).read_text())
        assert (status, rate) == (shipped["status"], shipped["rate_rps"])
        index.close()

    def test_json_columns_hold_the_rest(self, url: str, home: Path) -> None:
        index = Index(url, home)
        index.update(home)
        query = "SELECT serving FROM archive_trials WHERE trial_id = 'b0-baseline'"
        ((found,),) = self.rows(url, home, query)
        plain = json.loads(found) if isinstance(found, str) else found
        assert isinstance(plain, dict)
        assert plain["gpu_memory_utilization"] == 0.9
        index.close()

    def test_what_did_not_change_is_not_read_again(
        self, url: str, home: Path, whole: JobArchive
    ) -> None:
        index, archive = Index(url, home), JobArchive(home, whole.job_id)
        index.update(home)
        before = self.rows(url, home, "SELECT indexed_at FROM archive_jobs")
        assert (index.update(home).read, index.update(home).unchanged) == (0, 1)
        assert self.rows(url, home, "SELECT indexed_at FROM archive_jobs") == before
        archive.event("note", text="something")
        assert index.update(home).read == 1
        assert index.update(home, rebuild=True).read == 1, "asked for by name"
        index.close()

    def test_reading_again_adds_nothing(self, url: str, home: Path) -> None:
        index = Index(url, home)
        index.update(home)
        tables = [table.name for table in OF_A_JOB]

        def counts() -> list[object]:
            return [self.rows(url, home, f"SELECT count(*) FROM {name}") for name in tables]

        before = counts()
        index.update(home, rebuild=True)
        assert counts() == before
        index.close()

    def test_a_list_from_the_index_is_the_list_from_the_archives(
        self, url: str, home: Path
    ) -> None:
        ended(home, "a", "job-a1", "failed", team="red")
        ended(home, "a", "job-a2", team="blue")
        ended(home, "b", "job-b1")
        (home / "jobs" / "job-b1" / "plan.json").write_text("{}")
        index = Index(url, home)
        assert index.update(home).damaged == ("job-b1",)
        asked = [
            *(Wanted(), Wanted(states=("failed", "damaged")), Wanted(model="a")),
            *(Wanted(model="a:2"), Wanted(model="a:1"), Wanted(team="blue"), Wanted(limit=2)),
            *(Wanted(model="a", limit=1), Wanted(since="2020-01-01T00:00:00Z")),
            Wanted(since="2099-01-01T00:00:00Z"),
        ]
        counts = []
        for wanted in asked:
            rows = index.jobs(wanted)
            assert {row.pop("home") for row in rows} <= {str(home)}
            assert rows == list_jobs(home, wanted)
            counts.append(len(rows))
        assert counts == [4, 2, 2, 2, 0, 1, 2, 1, 4, 0]
        index.close()

    def test_a_job_that_is_gone_is_marked_and_a_rebuild_forgets_it(
        self, url: str, home: Path, whole: JobArchive
    ) -> None:
        ended(home, "a", "job-a1")
        index = Index(url, home)
        index.update(home)
        (home / "jobs" / whole.job_id).rename(home / "away")
        assert (index.update(home).removed, index.update(home).removed) == (1, 0)
        query = "SELECT removed_at IS NULL FROM archive_jobs ORDER BY job_id"
        gone = [bool(there) for (there,) in self.rows(url, home, query)]
        assert sorted(gone) == [False, True]
        assert [row["id"] for row in index.jobs(Wanted())] == ["job-a1"]
        ((trials,),) = self.rows(url, home, "SELECT count(*) FROM archive_trials")
        assert trials, "its figures stay"
        (home / "away").rename(home / "jobs" / whole.job_id)
        assert index.update(home).read == 1
        assert len(index.jobs(Wanted())) == 2, "a disk that comes back brings its jobs back"
        shutil.rmtree(home / "jobs" / whole.job_id)
        assert index.update(home, rebuild=True).removed == 1
        assert self.rows(url, home, "SELECT count(*) FROM archive_trials") == [(0,)]
        index.close()

    def test_homes_share_a_database_and_not_their_jobs(
        self, url: str, tmp_path: Path, home: Path
    ) -> None:
        other = tmp_path / "other"
        ended(other, "a", "job-1")
        ended(home, "b", "job-1")
        index = Index(url, home)
        index.update(home)
        index.update(other)
        assert len(index.jobs(Wanted())) == 3
        other.rename(tmp_path / "moved")
        assert index.update(tmp_path / "moved").unchanged == 1, "a home is known by its id"
        models = {row["home"]: row["model"] for row in index.jobs(Wanted(model="a"))}
        assert models == {str(tmp_path / "moved"): "a:2"}
        index.close()

    def test_many_at_once_do_no_harm(self, url: str, home: Path) -> None:
        """The first ones make the tables, too; each has the whole in the end."""
        for number in range(6):
            ended(home, "a", f"job-{number}")
        failed: list[Exception] = []

        def work() -> None:
            try:
                index = Index(url, home)
                for _ in range(3):
                    index.update(home, rebuild=True)
                index.close()
            except Exception as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        index = Index(url, home)
        assert len(index.jobs(Wanted())) == 7
        assert index.update(home).unchanged == 7
        index.close()

    def test_text_that_no_database_takes_is_mended(self, url: str, home: Path) -> None:
        ended(home, "a", "job-1")
        JobArchive(home, "job-1").event(
            "state", state="failed", exit_code=1, verdict=None, message="a\x00b\ud800c"
        )
        index = Index(url, home)
        index.update(home)
        query = "SELECT message FROM archive_jobs WHERE job_id = 'job-1'"
        assert self.rows(url, home, query) == [("a�b?c",)]
        index.close()

    @pytest.mark.parametrize(
        "query",
        [
            "DELETE FROM archive_jobs",
            "SELECT 1; DELETE FROM archive_jobs",
            "COMMIT; DELETE FROM archive_jobs",
            "UPDATE archive_jobs SET state = 'done'",
            "DROP TABLE archive_jobs",
            "CREATE TABLE mine (a INTEGER)",
            "SELECT nothing FROM nowhere",
            "",
        ],
    )
    def test_a_query_may_only_read(self, url: str, home: Path, query: str) -> None:
        index = Index(url, home)
        index.update(home)
        with pytest.raises(BadInput, match=r"refuses the query|asks for no rows"):
            self.rows(url, home, query)
        assert self.rows(url, home, "SELECT count(*) FROM archive_jobs") == [(1,)]
        index.close()

    def test_tables_of_a_newer_version_are_left_alone(self, url: str, home: Path) -> None:
        index = Index(url, home)
        index.update(home)
        with index._sql.begin() as connection:
            newer = sa.update(FACTS).where(FACTS.c.key == "schema").values(value=str(SCHEMA + 1))
            connection.execute(newer)
        for asked in (index.update, lambda _: index.jobs(Wanted()), lambda _: index.ask("", 1)):
            with pytest.raises(BadInput, match="newer OptiKIT"):
                asked(home)
        index.close()
