"""``mlflow://`` as a model's address: a real MLflow server, its artifact store, a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from optikit.adapters.mlflow import SERVER, tracking
from optikit.errors import BadInput, SourceError, UnsafeInput
from optikit.registry import promote_model, rollback_model
from optikit.spec.permit import Permit
from optikit.stores.contents import model_digest
from optikit.stores.remote import PATIENCE, RemoteStore, shape_elsewhere
from tests.mlflow_server import mlflow_server
from tests.models import tiny_llama
from tests.object_store import ObjectStore, object_store
from tests.published import publish

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(autouse=True)
def told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER, server)
    monkeypatch.setenv(PATIENCE, "5")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("s3") / "server") as store:
        store.client().create_bucket(Bucket="bundles")
        yield store


def test_a_published_model_is_the_next_jobs_model(tmp_path: Path) -> None:
    """Of the bundle its ``model/``, by an alias that is resolved to the version."""
    there, here = tmp_path / "there", tmp_path / "here"
    _, first = publish(there, "n1", "next-none")
    _, second = publish(there, "n2", "next-none")
    address = "mlflow://models:/next-none@certified"
    assert shape_elsewhere(address, here).layers == 2
    came = RemoteStore(here).bring(address, "model")
    assert came.address == "mlflow://models:/next-none/2"
    assert came.artifact.digest == model_digest(second / "model")
    assert came.moved_bytes > 0
    again = RemoteStore(here).bring("mlflow://models:/next-none/2", "model")
    assert (again.artifact, again.moved_bytes) == (came.artifact, 0)
    rollback_model("next-none", home=there)
    back = RemoteStore(here).bring(address, "model")
    assert back.address == "mlflow://models:/next-none/1"
    assert back.artifact.digest == model_digest(first / "model")
    site = Permit(roots=(str(here),), addresses=("mlflow://models:/next-none",))
    with pytest.raises(BadInput, match="outside the folders that this site allows"):
        RemoteStore(tmp_path / "third").bring(address, "model", site)
    other = Permit(roots=(str(here),), addresses=("mlflow://models:/mine",))
    with pytest.raises(UnsafeInput, match="outside the addresses that this site allows"):
        RemoteStore(here).bring(address, "model", other)


def test_a_bundle_that_was_changed_is_refused(tmp_path: Path) -> None:
    _, bundle = publish(tmp_path / "there", "c1", "changed-none")
    (bundle / "model" / "NOTICE").write_text("somebody else's\n")
    with pytest.raises(BadInput, match=r"was published with sha256:.*it was changed since"):
        RemoteStore(tmp_path / "here").bring("mlflow://models:/changed-none/1", "model")
    assert not list((tmp_path / "here" / "remote").glob("*.json")), "it is not remembered"


def test_a_model_in_the_registrys_artifact_store(tmp_path: Path) -> None:
    """Another tool logged it: no tags, no path, only artifacts that the server hands out."""
    model = tiny_llama(tmp_path / "model")
    with tracking(tmp_path / "there") as store:
        run = store.run("logged", params={}, metrics={}, tags={})
        store._client.log_artifacts(run, str(model), "weights")
        store._client.create_registered_model("logged")
        where = store._client.get_run(run).info.artifact_uri
        store._client.create_model_version("logged", source=f"{where}/weights", run_id=run)
        store._client.create_model_version("logged", source=where, run_id=run)
    here = RemoteStore(tmp_path / "here")
    came = here.bring("mlflow://models:/logged/1", "model")
    assert came.artifact.digest == model_digest(model)
    assert came.moved_bytes > 0
    left = [path.name for path in (tmp_path / "here" / "remote").iterdir() if path.is_dir()]
    assert left == []
    with pytest.raises(BadInput, match=r"nowhere to be had from here: the artifact store has weig"):
        here.bring("mlflow://models:/logged/2", "model")
    with pytest.raises(BadInput, match="newest versions: 1, 2"):
        here.bring("mlflow://models:/logged/7", "model")


def test_a_bundle_that_was_brought_to_a_bucket(
    tmp_path: Path, s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that made it is gone; its bucket is asked, also by promote and rollback."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    there = tmp_path / "there"
    for job in ("b1", "b2"):
        _, bundle = publish(there, job, "brought-none")
        address = RemoteStore(there).send(bundle, f"s3://bundles/llm/{job}")
        publish(there, job, "brought-none", address=address)
        digest = model_digest(bundle / "model")
        for path in sorted(bundle.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    came = RemoteStore(tmp_path / "here").bring("mlflow://models:/brought-none@certified", "model")
    assert came.address == "mlflow://models:/brought-none/2"
    assert came.artifact.digest == digest
    site = Permit(addresses=("mlflow://", "s3://other"))
    with pytest.raises(BadInput, match="s3://bundles/llm/b2 lies outside"):
        RemoteStore(tmp_path / "third").bring("mlflow://models:/brought-none/2", "model", site)
    rollback_model("brought-none", home=there)
    promote_model("brought-none:2", home=there)
    s3.client().delete_object(Bucket="bundles", Key="llm/b1/model/config.json")
    with pytest.raises(BadInput, match=r"s3://bundles/llm/b1 lacks model/config\.json"):
        rollback_model("brought-none", home=there)


def test_a_server_that_is_away_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    with pytest.raises((BadInput, SourceError), match=r"MLflow at http://127\.0\.0\.1:9"):
        RemoteStore(tmp_path).bring("mlflow://models:/m/1", "model")
