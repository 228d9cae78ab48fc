"""Models and datasets by address: a real S3 server, a web server, a double of WebHDFS."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from optikit.errors import BadInput, OptikitError, SourceError, UnsafeInput
from optikit.spec.permit import Permit
from optikit.stores.file import FileModelStore
from optikit.stores.remote import PATIENCE, RemoteStore, shape_elsewhere
from tests.models import tiny_llama
from tests.object_store import ObjectStore, object_store
from tests.webhdfs import NameNode

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(180)]

LARGE = 160 << 20
"""Bytes of weights of the larger model: ten parts."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3") / "server") as store:
        yield store


@pytest.fixture
def s3(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PATIENCE, "5")
    return server


def put(store: ObjectStore, bucket: str, folder: Path, prefix: str) -> None:
    there = store.client()
    if bucket not in [b["Name"] for b in there.list_buckets()["Buckets"]]:
        there.create_bucket(Bucket=bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            there.upload_file(str(path), bucket, f"{prefix}/{name}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the store takes for a model, with weights of ten parts."""
    folder = tmp_path_factory.mktemp("large")
    header = {"w": {"dtype": "U8", "shape": [LARGE], "data_offsets": [0, LARGE]}}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(LARGE >> 20):
            file.write(hashlib.sha256(str(number).encode()).digest() * (1 << 15))
    (folder / "config.json").write_text("{}")
    return folder


def test_a_model_in_a_bucket_is_the_same_model_and_comes_once(
    s3: ObjectStore, model: Path, tmp_path: Path
) -> None:
    put(s3, "models", model, "tiny/v1")
    here = FileModelStore(tmp_path / "a").take(model)
    store = RemoteStore(tmp_path / "b")
    told: list[tuple[int, int]] = []
    came = store.bring("s3://models/tiny/v1", "model", progress=lambda *both: told.append(both))
    assert came.artifact.digest == here.digest
    assert came.moved_bytes >= here.size_bytes > 0
    assert told[-1] == (came.moved_bytes, came.moved_bytes)
    assert shape_elsewhere("s3://models/tiny/v1", tmp_path).layers == 2
    again = store.bring("s3://models/tiny/v1/", "model")
    assert (again.artifact, again.moved_bytes) == (came.artifact, 0)
    left = [path.name for path in (tmp_path / "b/artifacts").glob("[!.]*")]
    assert left == [here.digest.removeprefix("sha256:")]
    s3.client().put_object(Bucket="models", Key="tiny/v1/NOTICE", Body=b"changed")
    changed = store.bring("s3://models/tiny/v1", "model")
    assert changed.artifact.digest != here.digest
    assert changed.moved_bytes > 0


def test_a_dataset_is_a_folder_or_one_file(s3: ObjectStore, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "a.jsonl").write_text('{"text": "one"}\n')
    (rows / "notes.pdf").write_text("stays there")
    put(s3, "datasets", rows, "d")
    store = RemoteStore(tmp_path / "home")
    folder = store.bring("s3://datasets/d", "dataset").artifact
    file = store.bring("s3://datasets/d/a.jsonl", "dataset").artifact
    assert folder.digest == file.digest
    assert [path.name for path in Path(folder.path).iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("address", ["s3://models/nothing", "s3://nobucket-here/x"])
def test_where_nothing_is_is_said_at_once(s3: ObjectStore, tmp_path: Path, address: str) -> None:
    began = time.monotonic()
    with pytest.raises(BadInput, match=f"{address}: nothing is there"):
        RemoteStore(tmp_path).bring(address, "model")
    assert time.monotonic() - began < 5.0, "no patience for what will not come"


def test_wrong_credentials_are_said_without_them(
    s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hushhushhush")
    with pytest.raises(BadInput, match="refuses who asks") as caught:
        RemoteStore(tmp_path).bring("s3://models/tiny/v1", "model")
    assert "hushhush" not in str(caught.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BadInput, match="no credentials were found"):
        RemoteStore(tmp_path).bring("s3://models/tiny/v1", "model")


def test_a_site_that_does_not_allow_the_address(s3: ObjectStore, tmp_path: Path) -> None:
    permit = Permit(addresses=("s3://other/",))
    with pytest.raises(UnsafeInput, match="outside the addresses that this site allows"):
        RemoteStore(tmp_path).bring("s3://models/tiny/v1", "model", permit)
    with pytest.raises(UnsafeInput, match="outside the addresses that this site allows"):
        RemoteStore(tmp_path).send(tmp_path, "s3://models/x", permit)


BRING = """
import sys
from optikit.stores.remote import RemoteStore
from pathlib import Path
def tell(done, total):
    print(done, total, flush=True)
came = RemoteStore(Path(sys.argv[1])).bring(sys.argv[2], "model", progress=tell)
print("moved", came.moved_bytes, came.artifact.digest, flush=True)
"""


def bring(home: Path, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BRING, str(home), address], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_transfer_goes_on_where_it_was(
    s3: ObjectStore, large: Path, tmp_path: Path
) -> None:
    put(s3, "models", large, "large")
    killed = bring(tmp_path, "s3://models/large")
    assert killed.stdout is not None
    for line in killed.stdout:
        if int(line.split()[0]) >= LARGE // 4:
            os.kill(killed.pid, signal.SIGKILL)
            break
    killed.wait()
    killed.stdout.close()
    assert list((tmp_path / "remote").glob("*/.parts"))
    assert not list((tmp_path / "artifacts").glob("[0-9a-f]*")), "half of it was taken for whole"
    told: list[int] = []
    came = RemoteStore(tmp_path).bring(
        "s3://models/large", "model", progress=lambda done, total: told.append(done)
    )
    assert told[0] >= LARGE // 4, "what was there was moved again"
    assert came.artifact == FileModelStore(tmp_path).take(large)


def test_two_jobs_at_once_move_it_once(s3: ObjectStore, large: Path, tmp_path: Path) -> None:
    put(s3, "models", large, "large")
    both = [bring(tmp_path, "s3://models/large") for _ in range(2)]
    said = [one.communicate(timeout=120)[0].splitlines()[-1].split() for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert said[0][2] == said[1][2]
    assert sorted(int(words[1]) > 0 for words in said) == [False, True]


def test_a_store_that_is_away_for_a_while_is_waited_for(
    s3: ObjectStore, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "90")
    put(s3, "models", large, "large")
    away = threading.Event()

    def stop(done: int, total: int) -> None:
        if done >= LARGE // 4 and not away.is_set():
            away.set()
            s3.stop()
            threading.Timer(2.0, s3.start).start()

    came = RemoteStore(tmp_path).bring("s3://models/large", "model", progress=stop)
    assert away.is_set()
    assert came.artifact == FileModelStore(tmp_path).take(large)


def test_a_store_that_stays_away_is_one_clear_error_and_costs_nothing_that_came(
    s3: ObjectStore, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, "models", large, "large")
    monkeypatch.setenv(PATIENCE, "1")

    def stop(done: int, total: int) -> None:
        if done >= LARGE // 4:
            s3.stop()

    with pytest.raises(SourceError, match="s3://models/large"):
        RemoteStore(tmp_path).bring("s3://models/large", "model", progress=stop)
    s3.start()
    monkeypatch.setenv(PATIENCE, "60")  # it answers before its parts know one another
    told: list[int] = []
    RemoteStore(tmp_path).bring("s3://models/large", "model", progress=lambda d, t: told.append(d))
    assert told[0] >= LARGE // 4


def test_room_is_made_before_a_transfer_and_only_then(
    s3: ObjectStore, model: Path, tmp_path: Path
) -> None:
    put(s3, "models", model, "room")
    asked: list[tuple[int, int]] = []
    store = RemoteStore(
        tmp_path,
        make_room=lambda coming: asked.append((coming, len(list(tmp_path.glob("artifacts/*"))))),
    )
    came = store.bring("s3://models/room", "model")
    assert asked == [(came.moved_bytes, 0)]
    store.bring("s3://models/room", "model")
    assert len(asked) == 1
    assert store.fetched() == {came.artifact.digest.removeprefix("sha256:")}


def test_what_is_sent_comes_back_checked(s3: ObjectStore, model: Path, tmp_path: Path) -> None:
    put(s3, "bundles", tmp_path / "none", "x")  # the bucket
    store = RemoteStore(tmp_path)
    address = store.send(model, "s3://bundles/job-1/model")
    assert address.startswith("s3://bundles/job-1/model/SHA256SUMS#sha256=")
    came = RemoteStore(tmp_path / "a").bring("s3://bundles/job-1/model", "model")
    assert came.artifact == came.artifact.model_copy(
        update={"digest": FileModelStore(tmp_path / "b").take(model).digest}
    )
    s3.client().put_object(
        Bucket="bundles", Key="job-1/model/SHA256SUMS.partial", Body=b"of a later attempt"
    )
    RemoteStore(tmp_path / "b").bring("s3://bundles/job-1/model", "model")
    text = (model / "config.json").read_bytes()
    time.sleep(1.1)  # S3 tells times in whole seconds
    s3.client().put_object(Bucket="bundles", Key="job-1/model/config.json", Body=text[:-1] + b" ")
    with pytest.raises(BadInput, match=r"config\.json is not what its place says"):
        RemoteStore(tmp_path / "c").bring("s3://bundles/job-1/model", "model")
    store.send(model, "s3://bundles/job-1/model")
    RemoteStore(tmp_path / "c").bring("s3://bundles/job-1/model", "model")


def test_what_is_still_being_sent_is_not_taken_for_whole(
    s3: ObjectStore, model: Path, tmp_path: Path
) -> None:
    put(s3, "models", model, "half")
    s3.client().put_object(Bucket="models", Key="half/SHA256SUMS.partial", Body=b"")
    with pytest.raises(BadInput, match=r"is not whole: it has SHA256SUMS\.partial"):
        RemoteStore(tmp_path).bring("s3://models/half", "model")


def test_pickles_stay_where_they_are(s3: ObjectStore, model: Path, tmp_path: Path) -> None:
    put(s3, "models", model, "mixed")
    s3.client().put_object(Bucket="models", Key="mixed/pytorch_model.bin", Body=b"\x80\x04.")
    came = RemoteStore(tmp_path).bring("s3://models/mixed", "model")
    assert not list(Path(came.artifact.path).glob("*.bin"))


# ---- a web server


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files with ranges, as every real web server gives them."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = self.headers.get("Range")
        if asked is None or not path.is_file():
            return super().do_GET()
        start, stop = (int(word) for word in asked.removeprefix("bytes=").split("-"))
        data = path.read_bytes()[start : stop + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None

    def log_message(self, *args: object) -> None: ...


@contextmanager
def web(folder: Path) -> Iterator[str]:
    def make(*args: Any) -> _Files:
        return _Files(*args, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_web_server_gives_what_has_the_digest(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    lines = []
    for path in model.iterdir():
        if path.is_file() and not path.name.startswith("."):
            (folder / path.name).write_bytes(path.read_bytes())
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    sums = "".join(lines).encode()
    (folder / "SHA256SUMS").write_bytes(sums)
    digest = hashlib.sha256(sums).hexdigest()
    with web(folder) as url:
        address = f"{url}/SHA256SUMS#sha256={digest}"
        came = RemoteStore(tmp_path / "home").bring(address, "model")
        assert came.artifact.digest == FileModelStore(tmp_path / "b").take(model).digest
        with pytest.raises(BadInput, match="append #sha256=HEX"):
            RemoteStore(tmp_path / "home").bring(f"{url}/SHA256SUMS", "model")
        with pytest.raises(BadInput, match="the list there has the digest"):
            RemoteStore(tmp_path / "c").bring(f"{url}/SHA256SUMS#sha256={'0' * 64}", "model")
        (folder / "config.json").write_text("{}")
        with pytest.raises(BadInput, match=r"config\.json is not what its place says"):
            RemoteStore(tmp_path / "c").bring(address, "model")


# ---- HDFS: no NameNode can run here, so a double of its REST API stands for one


def test_a_model_on_hdfs_by_its_rest_api_of_a_double(model: Path, tmp_path: Path) -> None:
    with NameNode() as there:
        RemoteStore(tmp_path).send(model, f"webhdfs://127.0.0.1:{there.port}/models/tiny")
        assert not [name for name in there.files if name.endswith(".part")]
        came = RemoteStore(tmp_path).bring(f"webhdfs://127.0.0.1:{there.port}/models/tiny", "model")
        assert came.artifact.digest == FileModelStore(tmp_path / "b").take(model).digest
        with pytest.raises(BadInput, match="nothing is there"):
            RemoteStore(tmp_path).bring(f"webhdfs://127.0.0.1:{there.port}/none", "model")


def test_hdfs_without_hadoop_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OptikitError, match="webhdfs://"):
        RemoteStore(tmp_path).bring("hdfs://127.0.0.1:1/models/tiny", "model")
