"""The book on a real PostgreSQL, and a service on it; a private server that listens to a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.errors import ArchiveError
from optikit.service.database import Database
from tests import postgres
from tests.book_contract import BookContract
from tests.service_case import SPEC
from tests.services import by_command, running_service, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]


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


class TestPostgres(BookContract):
    @pytest.fixture
    def database(self, tmp_path: Path, url: str) -> Iterator[Database]:
        self.url = url
        made = Database(tmp_path / "home", url)
        yield made
        made.close()

    def again(self, book: Database) -> Database:
        return Database(book.home, self.url)


# psycopg's word on a connection that its server ended, and that SQLAlchemy dropped
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_goes_away_is_an_error_and_comes_back(
    tmp_path: Path, url: str, cluster: Path
) -> None:
    database = Database(tmp_path, url)
    postgres.stop(cluster)
    try:
        with pytest.raises(ArchiveError, match="does not do what was asked"):
            database.live()
    finally:
        postgres.start(cluster)
    assert database.live() == []
    database.close()


def test_a_job_of_a_service_on_postgresql(tmp_path: Path, url: str) -> None:
    home = tmp_path / "home"
    with running_service(home, "--database", url) as service:
        job = service.server(None).submit(SPEC, 0, "k")
        assert wait_until(job, lambda s: s["state"] in ("done", "failed"))["state"] == "done"
        refused = by_command(
            home,
            *("serve", "--home", str(tmp_path / "other"), "--port", "0", "--database", url),
            code=2,
        )
        assert "belongs to the service of" in refused.stderr
