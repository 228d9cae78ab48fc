from __future__ import annotations

from pathlib import Path

import pytest

from optikit.errors import BadInput, UnsafeInput
from optikit.evaluators._task_file import shipped, task_config, with_own_data

PLAIN = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "rows.jsonl").write_text('{"question": "a"}\n')
    (tmp_path / "secret.jsonl").write_text('{"question": "b"}\n')
    return root


def written(folder: Path, text: str) -> str:
    (folder / "t.yaml").write_text(text)
    return str(folder / "t.yaml")


def test_a_plain_task_is_read(folder: Path) -> None:
    config = task_config(written(folder, PLAIN))
    assert config["dataset_kwargs"]["data_files"] == {"test": str(folder / "rows.jsonl")}
    assert task_config(written(folder, PLAIN), [str(folder)]) == config
    for name in shipped():
        assert task_config(name, ["/nowhere"])["task"] == name  # ships with the package


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: t\ndoc_to_text: !function evil.run\n", "not plain YAML"),
        ("task: t\nclass: evil.Task\n", "'class'"),
        ("task: t\ncustom_dataset: evil.rows\n", "'custom_dataset'"),
        ("task: t\ninclude: ../other.yaml\n", "'include'"),
        ("task: t\nprocess_results: evil.score\n", "'process_results'"),
        ("task: t\nunsafe_code: true\n", "'unsafe_code'"),
        ("task: t\nmetric_list: [{metric: ./evil}]\n", "a script"),
        ("task: t\nmetric_list: [{metric: code_eval}]\n", "a script"),
        ("task: t\nmetric_list: [{metric: acc, hf_evaluate: true}]\n", "a script"),
        ("task: t\nmetric_list: acc\n", "a list of mappings"),
        ("task: t\ndataset_kwargs: [a]\n", "is a mapping"),
        ("task: t\ndataset_kwargs: {trust_remote_code: true}\n", "'trust_remote_code'"),
        ("task: t\ndataset_kwargs: {data_dir: /etc}\n", "'data_dir'"),
        ("task: t\ndataset_path: pandas\n", "'pandas' is not read"),
        ("task: t\ndataset_path: sql\n", "'sql' is not read"),
        ("task: t\ndataset_path: /etc\n", "is not read"),
        ("task: t\n", "'' is not read"),
        ("task: [a, b]\n", "a group is not read"),
        ("task: {x: 1}\n", "a group is not read"),
        ("a: &a [1]\ntask: *a\n", "aliases"),
        ("task: t\ntask: u\n", "named twice"),
        ("task: " + "[" * 100, "nested deeper"),
    ],
)
def test_a_task_that_is_more_than_data_is_refused(folder: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        task_config(written(folder, text))
    assert str(caught.value).startswith("quality.tasks: ")


def test_a_dataset_of_the_hub_is_allowed(folder: Path) -> None:
    assert task_config(written(folder, "task: t\ndataset_path: org/name\n"), [str(folder)])


def test_a_local_folder_of_plain_files(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    (data / "a.parquet").write_bytes(b"")
    text = f"task: t\ndataset_path: {data}\n"
    assert task_config(written(folder, text))
    with pytest.raises(UnsafeInput, match="is not read"):
        task_config(written(folder, text), [str(folder)])
    (data / "b.pkl").write_bytes(b"")
    with pytest.raises(UnsafeInput, match=r"b\.pkl"):
        task_config(written(folder, text))


def test_files_outside_the_roots_are_refused(folder: Path, tmp_path: Path) -> None:
    roots = [str(folder)]
    (tmp_path / "out.yaml").write_text(PLAIN)
    with pytest.raises(UnsafeInput, match="leads outside"):
        task_config(str(tmp_path / "out.yaml"), roots)
    up = PLAIN.replace("rows", "../secret")
    with pytest.raises(UnsafeInput, match="leads outside"):
        task_config(written(folder, up), roots)
    (folder / "rows.jsonl").unlink()
    (folder / "rows.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(UnsafeInput, match="leads outside"):
        task_config(written(folder, PLAIN), roots)


def test_under_roots_the_library_reads_copies(folder: Path, tmp_path: Path) -> None:
    config = task_config(written(folder, PLAIN), [str(folder)])
    assert with_own_data(config, None, tmp_path) == config
    for _ in range(2):  # a second attempt finds the first one's copies
        copied = with_own_data(config, [str(folder)], tmp_path / "work")
    path = Path(copied["dataset_kwargs"]["data_files"]["test"])
    assert path.is_relative_to(tmp_path / "work")
    assert path.read_text() == '{"question": "a"}\n'
    (folder / "rows.jsonl").unlink()
    (folder / "rows.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(UnsafeInput):
        with_own_data(config, [str(folder)], tmp_path / "work")
    config = task_config("everyday_facts", [str(folder)])
    copied = with_own_data(config, [str(folder)], tmp_path / "work")
    assert Path(copied["dataset_kwargs"]["data_files"]["test"]).stat().st_size > 0
