from __future__ import annotations

from pathlib import Path

import pytest

from optikit.stores.baselines import FileBaselines

KEY = {"model": "sha256:aa", "engine": "vllm 1.0"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "scores"
    folder.mkdir()
    (folder / "items-1.jsonl").write_text("{}\n")
    return folder


def test_what_was_kept_is_found_by_the_same_key_only(tmp_path: Path, files: Path) -> None:
    store = FileBaselines(tmp_path / "home")
    assert store.find(KEY) is None
    store.keep(KEY, files)
    found = store.find(dict(reversed(KEY.items())))
    assert found is not None
    assert (found / "items-1.jsonl").read_text() == "{}\n"
    assert store.find({**KEY, "engine": "vllm 1.1"}) is None


def test_two_that_keep_the_same_leave_one(tmp_path: Path, files: Path) -> None:
    store = FileBaselines(tmp_path / "home")
    store.keep(KEY, files)
    store.keep(KEY, files)
    assert len(list((tmp_path / "home" / "baselines").iterdir())) == 1


def test_a_damaged_entry_is_not_used_and_is_replaced(tmp_path: Path, files: Path) -> None:
    store = FileBaselines(tmp_path / "home")
    store.keep(KEY, files)
    found = store.find(KEY)
    assert found is not None
    for name, content in (("key.json", '{"model": "sha2'), ("items-1.jsonl", "{")):
        (found / name).write_text(content)
        assert store.find(KEY) is None
        store.keep(KEY, files)
        assert store.find(KEY) == found
    (found / "items-1.jsonl").unlink()
    assert store.find(KEY) is None


def test_a_keep_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = FileBaselines(tmp_path / "home")
    with pytest.raises(FileNotFoundError):
        store.keep(KEY, tmp_path / "no such folder")
    assert list((tmp_path / "home" / "baselines").iterdir()) == []
    assert store.find(KEY) is None
