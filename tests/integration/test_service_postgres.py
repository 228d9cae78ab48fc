"""The book on a real PostgreSQL, and a service on it; a private server that listens to a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from optikit.errors import ArchiveError
from optikit.service.database import Database
from tests.book_contract import BookContract
from tests.service_case import SPEC
from tests.services import by_command, running_service, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

USER = "nobody"
"""PostgreSQL refuses to run as root."""


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="no driver; pip install 'optikit[postgres]'")
    return found[-1].parent


def as_user(*command: str) -> list[str]:
    return ["runuser", "-u", USER, "--", *command] if os.geteuid() == 0 else list(command)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """Folder of a server's socket."""
    bin_ = binaries()
    folder = Path(f"/tmp/optikit-pg-{os.getpid()}")  # short: a socket's path has 107 characters
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    data, log = str(folder / "data"), str(folder / "log")
    made = [str(bin_ / "initdb"), "-D", data, "-U", "optikit", "-A", "trust", "--no-sync"]
    subprocess.run(as_user(*made), check=True, capture_output=True, cwd="/")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    control = [str(bin_ / "pg_ctl"), "-D", data, "-w"]
    subprocess.run(
        as_user(*control, "-l", log, "-o", options, "start"),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        yield folder
    finally:
        subprocess.run(as_user(*control, "-m", "immediate", "stop"), capture_output=True, cwd="/")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(cluster: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a database that is new for each test."""
    name = f"t{abs(hash(request.node.name))}"
    where = ["-h", str(cluster), "-U", "optikit"]
    tools = binaries()
    subprocess.run([str(tools / "createdb"), *where, name], check=True, capture_output=True)
    yield f"postgresql://optikit@/{name}?host={quote(str(cluster), safe='')}"
    subprocess.run([str(tools / "dropdb"), "--force", *where, name], capture_output=True)


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
    control = [str(binaries() / "pg_ctl"), "-D", str(cluster / "data"), "-w", "-m", "fast"]
    subprocess.run(as_user(*control, "stop"), check=True, capture_output=True, cwd="/")
    try:
        with pytest.raises(ArchiveError, match="does not do what was asked"):
            database.live()
    finally:
        options = f"-k {cluster} -c listen_addresses='' -c fsync=off"
        subprocess.run(
            as_user(*control[:3], "-w", "-l", str(cluster / "log"), "-o", options, "start"),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
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
