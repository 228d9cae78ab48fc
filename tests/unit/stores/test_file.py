import json
import os
import shutil
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import BadInput, DatasetError, UnknownName, UnsafeInput
from optikit.stores.base import ModelStore
from optikit.stores.file import FileModelStore


def write_weights(path: Path, data: bytes = b"\0" * 8) -> None:
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "a model"
    write_weights(folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "LICENSE").write_text("Apache License\n")
    (folder / "picture.png").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "old.bin").write_bytes(b"x")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FileModelStore:
    return FileModelStore(tmp_path / "home dir")


def everything_below(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*")} if path.exists() else set()


def test_it_is_a_model_store(store: FileModelStore) -> None:
    protocol: ModelStore = store
    assert protocol.list() == []


def test_taking_copies_the_models_own_files_and_leaves_the_rest(
    store: FileModelStore, model: Path
) -> None:
    ref = store.take(model)
    assert everything_below(Path(ref.path)) == {"config.json", "model.safetensors", "LICENSE"}
    assert ref.kind == "model"
    assert Path(ref.path).name == ref.digest.removeprefix("sha256:")
    assert ref.size_bytes == sum(p.stat().st_size for p in Path(ref.path).iterdir())
    assert (Path(ref.path) / "config.json").stat().st_mode & stat.S_IWUSR == 0
    assert model.exists()


def test_the_digest_is_of_content_names_and_nothing_else(
    store: FileModelStore, model: Path, tmp_path: Path
) -> None:
    first = store.take(model)
    copy = tmp_path / "elsewhere"
    shutil.copytree(model, copy)
    (copy / "notes.bak").write_text("left out")
    assert store.take(copy) == first
    (copy / "config.json").rename(copy / "generation_config.json")
    (copy / "config.json").write_text('{"a": 1}')
    assert store.take(copy).digest != first.digest


def test_an_artifact_taken_again_is_itself(store: FileModelStore, model: Path) -> None:
    ref = store.take(model)
    inode = (Path(ref.path) / "model.safetensors").stat().st_ino
    assert store.take(Path(ref.path)) == ref
    assert (Path(ref.path) / "model.safetensors").stat().st_ino == inode
    assert everything_below(store.home / "artifacts") >= {Path(ref.path).name}
    assert len(list((store.home / "artifacts").glob("[!.]*"))) == 1


def test_an_artifact_that_was_changed_is_found_out(store: FileModelStore, model: Path) -> None:
    ref = store.take(model)
    config = Path(ref.path) / "config.json"
    config.chmod(0o644)
    config.write_text('{"changed": true}')
    with pytest.raises(BadInput, match="was changed after it was stored"):
        store.take(Path(ref.path))


def test_a_damaged_artifact_is_replaced_by_a_fresh_copy(store: FileModelStore, model: Path) -> None:
    ref = store.take(model)
    (Path(ref.path) / "LICENSE").unlink()
    assert store.take(model) == ref
    assert (Path(ref.path) / "LICENSE").read_text() == "Apache License\n"


def test_moving_leaves_no_source_and_makes_no_second_copy(
    store: FileModelStore, model: Path
) -> None:
    inode = (model / "model.safetensors").stat().st_ino
    ref = store.take(model, move=True)
    assert not model.exists()
    assert (Path(ref.path) / "model.safetensors").stat().st_ino == inode


def test_moving_an_artifact_keeps_it(store: FileModelStore, model: Path) -> None:
    ref = store.take(model)
    assert store.take(Path(ref.path), move=True) == ref
    assert Path(ref.path).is_dir()


def test_a_copy_that_fails_leaves_nothing(
    store: FileModelStore, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.take(model)
    assert everything_below(store.home / "artifacts") == set()


def test_what_a_killed_process_left_is_swept_a_day_later(
    store: FileModelStore, model: Path
) -> None:
    old, young = (store.home / "artifacts" / f".taking-{age}" for age in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    store.take(model)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "a.pt", "original/b.pth", "c.pkl", "d.ckpt", "X.BIN"]
)
def test_pickles_are_refused_wherever_they_lie(
    store: FileModelStore, model: Path, name: str
) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"x")
    with pytest.raises(UnsafeInput, match="pickle"):
        store.take(model)
    assert not (store.home / "artifacts").exists()


def test_code_is_refused(store: FileModelStore, model: Path) -> None:
    (model / "modeling_x.py").write_text("")
    with pytest.raises(UnsafeInput, match="is code"):
        store.take(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_config_that_asks_for_code_is_refused(
    store: FileModelStore, model: Path, name: str
) -> None:
    (model / name).write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    with pytest.raises(UnsafeInput, match="auto_map"):
        store.take(model)


def test_a_link_out_of_the_folder_is_refused(
    store: FileModelStore, model: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    (model / "vocab.txt").symlink_to(secret)
    with pytest.raises(UnsafeInput, match="outside the folder"):
        store.take(model)


def test_a_linked_folder_out_of_the_folder_is_refused(
    store: FileModelStore, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (model / "sub").symlink_to(tmp_path / "other")
    with pytest.raises(UnsafeInput, match="outside the folder"):
        store.take(model)


def test_a_link_inside_the_folder_becomes_a_file(store: FileModelStore, model: Path) -> None:
    (model / "copy.json").symlink_to("config.json")
    ref = store.take(model)
    assert (Path(ref.path) / "copy.json").read_text() == "{}"
    assert not (Path(ref.path) / "copy.json").is_symlink()


def test_missing_parts_are_named(store: FileModelStore, model: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    write_weights(model / "model-1.safetensors")
    with pytest.raises(BadInput, match=r"1 of them missing: model-2\.safetensors"):
        store.take(model)
    (model / "config.json").unlink()
    with pytest.raises(BadInput, match=r"no config\.json"):
        store.take(model)


def test_a_folder_without_weights_is_refused(store: FileModelStore, model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"no \*\.safetensors"):
        store.take(model)


@pytest.mark.parametrize("keep", [0, 7, 20, -1])
def test_weights_cut_short_are_refused(store: FileModelStore, model: Path, keep: int) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        store.take(model)


def test_a_model_is_found_under_its_name_and_version(store: FileModelStore, model: Path) -> None:
    added = store.add(model, "m", "1", {"team": "a"})
    assert store.find("m", "1") == added
    assert added.tags == {"team": "a"}
    assert FileModelStore(store.home).list() == [added]


def test_an_unknown_model_names_the_command(store: FileModelStore, model: Path) -> None:
    store.add(model, "llama", "1")
    with pytest.raises(UnknownName, match=r"did you mean 'llama'") as error:
        store.find("lama", "1")
    assert "optikit models add PATH --name lama --version 1" in str(error.value)
    with pytest.raises(UnknownName, match="registered versions of it: 1"):
        store.find("llama", "2")


def test_a_version_keeps_its_content(store: FileModelStore, model: Path) -> None:
    first = store.add(model, "m", "1")
    assert store.add(model, "m", "1") == first
    (model / "config.json").write_text('{"other": 1}')
    with pytest.raises(BadInput, match="versions never change"):
        store.add(model, "m", "1")
    assert store.find("m", "1") == first


def test_versions_count_on(store: FileModelStore, model: Path) -> None:
    for expected in ("1", "2"):
        assert store.add(model, "m", None).version == expected
    store.add(model, "m", "10")
    store.add(model, "m", "v99")
    assert store.add(model, "m", None).version == "11"


def test_models_are_listed_by_name_then_age(store: FileModelStore, model: Path) -> None:
    for name, version in (("b", "2"), ("a", "1"), ("b", "1")):
        store.add(model, name, version)
    assert [(m.name, m.version) for m in store.list()] == [("a", "1"), ("b", "2"), ("b", "1")]


def test_a_registered_model_whose_folder_is_gone(store: FileModelStore, model: Path) -> None:
    added = store.add(model, "m", "1")
    shutil.rmtree(added.path)
    with pytest.raises(BadInput, match="is gone"):
        store.find("m", "1")


@given(st.text(max_size=12), st.sampled_from(["name", "version"]))
def test_no_name_leaves_the_registry(word: str, place: str) -> None:
    store = FileModelStore(Path("/nowhere/home"))
    try:
        entry = store._entry(word if place == "name" else "m", word if place == "version" else "1")
    except BadInput:
        return
    assert entry.parent.parent == Path("/nowhere/home/models")
    assert Path(os.path.normpath(entry)) == entry


@pytest.mark.parametrize("word", ["..", "../x", "a/b", "", ".hidden", "a\0b", "x" * 129, "a\n"])
def test_names_that_could_leave_are_refused(store: FileModelStore, word: str) -> None:
    with pytest.raises(BadInput, match="cannot be a model's name"):
        store.find(word, "1")


def test_a_dataset_folder_and_a_file_are_taken(store: FileModelStore, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "more").mkdir(parents=True)
    (data / "a.jsonl").write_text('{"text": "x"}\n')
    (data / "more" / "b.txt").write_text("y")
    (data / "README.md").write_text("left out")
    ref = store.take_dataset(data)
    assert everything_below(Path(ref.path)) == {"a.jsonl", "more", "more/b.txt"}
    assert ref.kind == "dataset"
    one = store.take_dataset(data / "a.jsonl")
    assert everything_below(Path(one.path)) == {"a.jsonl"}
    assert one.digest != ref.digest


def test_datasets_that_cannot_be_used(store: FileModelStore, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset at"):
        store.take_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="holds no file of"):
        store.take_dataset(tmp_path)
    (tmp_path / "data.csv").write_text("x")
    with pytest.raises(DatasetError, match="no JSONL, parquet or text"):
        store.take_dataset(tmp_path / "data.csv")


def test_what_taking_would_write_is_known_without_hashing(
    store: FileModelStore, model: Path, tmp_path: Path
) -> None:
    size = store.missing_bytes(model)
    ref = store.take(model)
    assert size == ref.size_bytes
    assert store.stored() == {ref.digest: size}
    assert store.missing_bytes(model) == 0, "the same names and sizes: it may be there"
    assert store.missing_bytes(Path(ref.path)) == 0
    write_weights(model / "model.safetensors", b"\0" * 16)
    assert store.missing_bytes(model) > size


def test_what_a_dataset_would_write(store: FileModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"text": "a"}\n')
    (folder / "picture.png").write_bytes(b"x" * 100)
    for path in (folder, folder / "rows.jsonl"):
        assert store.missing_bytes(path, dataset=True) == 14
    store.take_dataset(folder)
    assert store.missing_bytes(folder / "rows.jsonl", dataset=True) == 0


def test_what_cannot_be_looked_at_would_write_nothing_that_is_sure(
    store: FileModelStore, tmp_path: Path, model: Path
) -> None:
    from optikit.spec.permit import Permit

    assert store.missing_bytes(tmp_path / "nowhere") == 0
    assert store.missing_bytes(tmp_path) == 0, "no model in it"
    elsewhere = Permit(roots=(str(tmp_path / "roots"),))
    assert store.missing_bytes(model, permit=elsewhere) == 0
    assert store.stored() == {}
