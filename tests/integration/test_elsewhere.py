"""Archives of real (simulated) jobs to a real S3 server and a double of WebHDFS, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from optikit.api import Carried, check_archives, pull_archive, push_archive
from optikit.errors import BadInput
from optikit.stores.remote import PATIENCE
from tests.object_store import ObjectStore, object_store
from tests.webhdfs import NameNode

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

OPTIKIT = str(Path(sys.executable).with_name("optikit"))
SPEC: dict[str, Any] = {
    "flow": "tune",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "flow_params": {"num_trials": 2, "space": {"tensor_parallel": [2]}},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 500 ms"],
}


def optikit(home: Path, *argv: str, code: int = 0) -> str:
    done = subprocess.run(
        [OPTIKIT, *argv],
        env={**os.environ, "OPTIKIT_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one job that ended."""
    found = tmp_path_factory.mktemp("ran") / "home"
    found.mkdir()
    (found / "job.yaml").write_text(yaml.safe_dump(SPEC))
    optikit(found, "submit", str(found / "job.yaml"), "--pool", "inline")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3") / "server") as store:
        store.client().create_bucket(Bucket="archives")
        yield store


@pytest.fixture
def s3(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PATIENCE, "5")
    return server


def test_an_archive_in_a_bucket_is_read_on_another_machine(
    home: Path, s3: ObjectStore, tmp_path: Path
) -> None:
    (job,) = [path.name for path in (home / "jobs").iterdir()]
    address = optikit(home, "archive", "push", "last", "s3://archives/team").splitlines()[0]
    assert address.startswith(f"s3://archives/team/{job}/SHA256SUMS#sha256=")
    again = json.loads(optikit(home, "archive", "push", job[:-2], "s3://archives/team", "--json"))
    assert again["address"] == address
    two = tmp_path / "two"
    assert optikit(two, "archive", "pull", address).splitlines()[0] == job
    mine, theirs = (json.loads(optikit(where, "show", job, "--json")) for where in (home, two))
    assert {**mine, "archive": ""} == {**theirs, "archive": ""}
    (check,) = check_archives(home=two)
    assert check.clean
    assert check.trials >= 3
    optikit(two, "report", job, "--output", str(tmp_path / "report.html"))
    assert job in (tmp_path / "report.html").read_text()
    other = pull_archive(address, tmp_path / "three")
    assert other.files == again["files"]
    optikit(two, "compare", job, job)
    assert "is here already" in optikit(two, "archive", "pull", address)
    s3.client().put_object(
        Bucket="archives", Key=f"team/{job}/journal.jsonl", Body=b"another history\n"
    )
    with pytest.raises(BadInput, match="is not what its place says it is"):
        pull_archive(address, tmp_path / "four")
    with pytest.raises(BadInput, match="holds another archive"):
        push_archive(job, "s3://archives/team", home)
    assert not (tmp_path / "four" / "jobs" / job).exists()
    error = optikit(two, "archive", "pull", f"s3://archives/nothing/{job}", code=2)
    assert "nothing is there" in error


def test_an_archive_on_hdfs_of_a_double(home: Path, tmp_path: Path) -> None:
    with NameNode() as there:
        place = f"webhdfs://127.0.0.1:{there.port}/archives"
        pushed: Carried = push_archive("last", place, home)
        assert not [name for name in there.files if name.endswith(".part")]
        pulled = pull_archive(pushed.address, tmp_path / "two")
    assert (pulled.job_id, pulled.files, pulled.bytes) == (
        pushed.job_id,
        pushed.files,
        pushed.bytes,
    )
    assert all(check.clean for check in check_archives(home=tmp_path / "two"))
