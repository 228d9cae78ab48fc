"""What a site lets a job read and run, from the submission to the copy in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optikit.api import Submitter
from optikit.errors import BadInput, UnsafeInput
from optikit.spec.job import OptimizationJob
from optikit.spec.permit import Permit
from optikit.spec.queue import Site
from optikit.stores._folder import model_files
from optikit.stores.file import FileModelStore
from optikit.stores.inside import TRUST, may_run_code, permit_for
from tests.models import tiny_folder

CODE = Permit(code=True)


def job(**spec: Any) -> OptimizationJob:
    given = {"flow": "tune", "model": {"name": "m"}, "compute": {"sku": "CPU_2"}}
    return OptimizationJob.parse({**given, "engine": "simulated", **spec})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "shared").mkdir()
    return Site(roots=(str(tmp_path / "shared"),))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "teams" / "a"


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        ("model.uri", {"model": {"name": "m", "uri": "file:///etc"}}),
        ("model.uri", {"model": {"name": "m", "uri": "."}}),
        ("dataset.path", {"dataset": {"path": "/etc/passwd"}}),
        ("dataset.path", {"dataset": {"path": "~"}}),
        ("workload.trace", {"workload": {"trace": "/etc/passwd", "arrivals": "trace"}}),
        ("quality.tasks", {"quality": {"tasks": ["everyday_facts", "/etc/x.yaml"]}}),
        ("tuner.storage", {"tuner": {"name": "tpe", "storage": "sqlite:////etc/x.db"}}),
        ("tuner.storage", {"tuner": {"name": "tpe", "storage": "postgresql://me@db/x"}}),
    ],
)
def test_a_site_takes_no_path_outside_its_roots(
    key: str, spec: dict[str, Any], site: Site, home: Path
) -> None:
    with pytest.raises(UnsafeInput, match=f"^{key}: "):
        permit_for(job(**spec), site, home)
    assert permit_for(job(**spec), None, home).roots is None  # whoever runs it reads what they can
    with pytest.raises(UnsafeInput, match=f"^{key}: "):
        Submitter(home, site=site).plan(job(**spec))


def test_roots_and_the_teams_own_home_are_allowed(site: Site, home: Path) -> None:
    shared = site.roots[0]
    spec = {"dataset": {"path": f"{shared}/text"}, "model": {"name": "m", "uri": f"{home}/m"}}
    permit = permit_for(job(**spec), site, home)
    assert permit == Permit(roots=(str(home), shared), addresses=())
    with pytest.raises(UnsafeInput, match=r"dataset\.path"):
        permit_for(job(dataset={"path": str(home.parent / "b" / "text")}), site, home)


def test_a_plan_carries_what_its_job_may_do(site: Site, home: Path) -> None:
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
    config |= {"vocab_size": 100, "max_position_embeddings": 2048}
    folder = Path(site.roots[0]) / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    spec = {"model": {"name": "m", "uri": str(folder)}, "compute": {"sku": "H100_1"}}
    plan = Submitter(home, site=site).plan(job(**spec))
    assert plan.permit.roots == (str(home.absolute()), *site.roots)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeInput, match=r"model\.uri"):
        Submitter(home, site=site).plan(job(**spec))


def test_code_needs_the_jobs_word_and_the_sites(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = job(model={"name": "m", "trust_remote_code": True})
    monkeypatch.delenv(TRUST, raising=False)
    with pytest.raises(UnsafeInput, match=f"set {TRUST}=1"):
        permit_for(asks, None, home)
    for word in ("0", "true", "", "2"):
        assert not may_run_code(None, {TRUST: word})
    monkeypatch.setenv(TRUST, "1")
    assert permit_for(asks, None, home).code
    assert not permit_for(job(), None, home).code
    with pytest.raises(UnsafeInput, match="its site does not"):
        permit_for(asks, Site(), home)  # the service's word counts, not its environment
    assert permit_for(asks, Site(trust_remote_code=True), home).code


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "shared model")


@pytest.fixture
def store(home: Path) -> FileModelStore:
    return FileModelStore(home)


def test_permitted_code_is_taken_and_said(store: FileModelStore, model: Path) -> None:
    assert not store.take(model).brings_code
    (model / "modeling_x.py").write_text("x = 1\n")
    (model / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_x.X"}}')
    with pytest.raises(UnsafeInput, match="is code"):
        store.take(model)
    ref = store.take(model, permit=CODE)
    assert ref.brings_code
    assert (Path(ref.path) / "modeling_x.py").read_text() == "x = 1\n"
    with pytest.raises(UnsafeInput, match="is code"):
        store.take(Path(ref.path))  # another job may not use what this one was allowed
    registered = store.add(model, "m", "1", permit=CODE)
    with pytest.raises(UnsafeInput, match="is code"):
        store.take(Path(registered.path))


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.bin", "pickle"), ("b.pkl", "pickle"), ("x.so", "compiled"), ("x.pyc", "compiled")],
)
def test_pickles_and_what_is_compiled_stay_refused(
    store: FileModelStore, model: Path, name: str, said: str
) -> None:
    (model / name).write_bytes(b"x")
    with pytest.raises(UnsafeInput, match=said):
        store.take(model, permit=CODE)


def test_code_of_another_repository_stays_refused(store: FileModelStore, model: Path) -> None:
    (model / "config.json").write_text('{"auto_map": {"AutoModel": "org/other--modeling.X"}}')
    with pytest.raises(UnsafeInput, match="another repository"):
        store.take(model, permit=CODE)


def test_a_folder_outside_the_roots_is_not_copied(
    store: FileModelStore, model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "a"}\n')
    elsewhere = Permit(roots=(str(tmp_path / "elsewhere"),))
    with pytest.raises(UnsafeInput):
        store.take(model, permit=elsewhere)
    with pytest.raises(UnsafeInput):
        store.take_dataset(text, permit=elsewhere)
    below = Permit(roots=(str(tmp_path),))
    assert store.take(model, permit=below).kind == "model"
    assert store.take_dataset(text, permit=below).kind == "dataset"


def test_a_file_that_becomes_a_link_after_the_look_is_not_read(
    store: FileModelStore, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is swapped between the check of its links and the reading of its files."""
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    (model / "vocab.txt").write_text("v")
    look = model_files

    def swapped(folder: Path, code: bool = False) -> list[str]:
        found = look(folder, code=code)
        if folder == model:
            (model / "vocab.txt").unlink()
            (model / "vocab.txt").symlink_to(secret)
        return found

    monkeypatch.setattr("optikit.stores.file.model_files", swapped)
    with pytest.raises(UnsafeInput, match="leads outside"):
        store.take(model, permit=Permit(roots=(str(model),)))


def test_a_config_that_asks_for_code_after_the_look_is_not_stored(
    store: FileModelStore, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, calls = model_files, []

    def swapped(folder: Path, code: bool = False) -> list[str]:
        found = look(folder, code=code)
        calls.append(folder)
        if folder == model:
            (model / "config.json").write_text('{"auto_map": {"AutoModel": "m.X"}}')
        return found

    monkeypatch.setattr("optikit.stores.file.model_files", swapped)
    with pytest.raises(UnsafeInput, match="auto_map"):
        store.take(model)
    assert len(calls) == 1  # the copy was looked at, and refused
    left = [entry.name for entry in (store.home / "artifacts").iterdir()]
    assert left == []


def test_a_changed_set_of_files_is_noticed(
    store: FileModelStore, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = model_files
    monkeypatch.setattr(
        "optikit.stores.file.model_files",
        lambda folder, code=False: look(folder, code)[: 2 if folder == model else 1],
    )
    with pytest.raises(BadInput, match="changed while it was read"):
        store.take(model)


def test_a_site_reads_elsewhere_only_where_it_says(site: Site, home: Path) -> None:
    spec: dict[str, Any] = {"model": {"name": "m", "uri": "s3://ours/m"}}
    spec |= {"dataset": {"path": "hf://ORG/NAME"}}
    assert permit_for(job(**spec), None, home).addresses is None
    with pytest.raises(UnsafeInput, match=r"model\.uri: s3://ours/m lies outside the addresses"):
        permit_for(job(**spec), site, home)
    half = site.model_copy(update={"addresses": ("s3://ours/",)})
    with pytest.raises(UnsafeInput, match=r"dataset\.path: hf://ORG/NAME lies outside"):
        permit_for(job(**spec), half, home)
    both = site.model_copy(update={"addresses": ("s3://ours/", "hf://")})
    assert permit_for(job(**spec), both, home).addresses == ("s3://ours/", "hf://")


# ---- somebody else's server


def endpoint(url: str, **key: str) -> OptimizationJob:
    engine: dict[str, Any] = {"name": "openai", "url": url, **({"key": key} if key else {})}
    return job(flow="benchmark", engine=engine)


def test_a_service_measures_only_below_its_addresses(site: Site, home: Path) -> None:
    url = "https://llm.example.com/team"
    assert permit_for(endpoint(url), None, home).addresses is None
    with pytest.raises(UnsafeInput, match=r"engine\.url: .*outside the addresses"):
        permit_for(endpoint(url), site, home)
    open_site = site.model_copy(update={"addresses": ("https://llm.example.com/",)})
    permit_for(endpoint(url), open_site, home)
    for other in ("https://llm.example.com.evil.org", "http://llm.example.com/team"):
        with pytest.raises(UnsafeInput, match=r"engine\.url"):
            permit_for(endpoint(other), open_site, home)


def test_a_service_does_not_lend_its_environment_or_its_files(site: Site, home: Path) -> None:
    open_site = site.model_copy(update={"addresses": ("https://llm.example.com/",)})
    url = "https://llm.example.com"
    with pytest.raises(UnsafeInput, match=r"engine\.key\.env: .*engine\.key\.file"):
        permit_for(endpoint(url, env="PGPASSWORD"), open_site, home)
    with pytest.raises(UnsafeInput, match=r"engine\.key\.file"):
        permit_for(endpoint(url, file="/etc/hostname"), open_site, home)
    permit_for(endpoint(url, file=str(home / "key")), open_site, home)
