"""A task file of lm-evaluation-harness: what it may say, and where its data lies.

The library's own format runs code: ``!function``, ``class``, metrics that the library ``evaluate``
loads as scripts, builders of ``datasets`` that read pickles or databases. A job's file is data:
what it says is held against short lists of what is harmless. The library's own tasks are not read
here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optikit.adapters.files import copy_inside, inside, open_inside
from optikit.errors import BadInput, SpecError, UnsafeInput
from optikit.specfile import MAX_BYTES, parse_mapping

__all__ = ["SHIPPED", "shipped", "task_config", "with_own_data"]

SHIPPED = Path(__file__).parent / "_tasks"
_KEY = "quality.tasks"
_CODE = ("class", "custom_dataset", "include", "process_docs", "process_results", "unsafe_code")
"""Keys that stand for functions, classes or other files; a plain file has no use for them."""
_METRICS = (
    *("acc", "acc_norm", "acc_mutual_info", "acc_bytes", "acc_all", "brier_score", "exact_match"),
    *("f1", "mcc", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "bleu"),
    *("chrf", "chrf++", "ter", "likelihood", "bypass"),
)
"""Of lm-eval 0.4.13 itself; it looks for any other one among scripts of the library evaluate."""
_BUILDERS = ("json", "csv", "parquet", "text", "arrow")
"""Of datasets: those that read plain data. Others open pickles (pandas), databases (sql), ..."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DATA_KEYS = ("data_files", "field", "sep", "encoding", "delimiter", "split", "revision")


def shipped() -> list[str]:
    """Names of the tasks that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def task_config(task: str, roots: Sequence[str] | None = None) -> dict[str, Any]:
    """A shipped task or a user's file as lm-eval's dict, its data files as absolute paths.

    Args:
        roots: folders below which a user's file and its data must lie; None: anywhere.

    Raises:
        BadInput: it cannot be read, is no task, or its data files are not there.
        UnsafeInput: it would run code, or leads outside the roots.
    """
    own = task not in shipped()
    path = Path(task) if own else SHIPPED / f"{task}.yaml"
    roots = roots if own else None
    try:
        with open_inside(path, roots, _KEY) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{_KEY}: cannot read {path}: {error.strerror}") from None
    try:
        config = parse_mapping(content, "task of lm-eval", str(path))
    except SpecError as error:
        raise BadInput(f"{_KEY}: {error}") from None
    if "task" not in config:
        raise BadInput(f"{_KEY}: {path} is no task of lm-eval: it has no key 'task'")
    _must_be_data(path, config)
    given = config.get("dataset_kwargs") or {}
    data_files = given.get("data_files")
    if isinstance(data_files, str):
        data_files = {str(config.get("test_split", "test")): data_files}
    if data_files is not None:
        if not isinstance(data_files, dict) or not all(
            isinstance(name, str) for name in data_files.values()
        ):
            raise BadInput(
                f"{_KEY}: {path}: data_files is one file name, or one a split; "
                f"found {data_files!r:.80}"
            )
        absolute = {split: str(path.parent.resolve() / name) for split, name in data_files.items()}
        for name in absolute.values():
            inside(Path(name), roots, f"{_KEY}: data_files of {path}")
        missing = [name for name in absolute.values() if not Path(name).is_file()]
        if missing:
            raise BadInput(f"{_KEY}: {path} names {missing[0]}, which does not exist")
        config["dataset_kwargs"] = {**given, "data_files": absolute}
    _must_be_known(path, str(config.get("dataset_path") or ""), roots)
    return config


def with_own_data(
    config: Mapping[str, Any], roots: Sequence[str] | None, work: Path
) -> dict[str, Any]:
    """The config; under roots with its data files copied to ``work``: what was checked is read."""
    given = config.get("dataset_kwargs") or {}
    data_files = given.get("data_files")
    if roots is None or not data_files:
        return dict(config)
    folder = work / "data" / re.sub(r"\W", "_", str(config["task"]))
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that died
    folder.mkdir(parents=True)
    copies = {}
    for number, (split, name) in enumerate(data_files.items()):
        copies[split] = str(folder / f"{number}-{Path(name).name}")
        allowed = [*roots, str(SHIPPED)]
        copy_inside(Path(name), Path(copies[split]), allowed, f"{_KEY}: data_files")
    return {**config, "dataset_kwargs": {**given, "data_files": copies}}


def _must_be_data(path: Path, config: Mapping[str, Any]) -> None:
    """Raise for what would run code, or hide another task inside this one."""
    if not isinstance(config["task"], str):
        raise BadInput(
            f"{_KEY}: {path}: 'task' is its name, found {config['task']!r:.80}; a group is not "
            f"read: name its tasks in {_KEY} one by one"
        )
    code = [key for key in _CODE if config.get(key)]
    if code:
        raise UnsafeInput(
            f"{_KEY}: {path} has the key {code[0]!r}, which stands for code or for another file; "
            "say it with templates, in one file"
        )
    metrics = config.get("metric_list") or []
    if not isinstance(metrics, list) or not all(isinstance(one, dict) for one in metrics):
        raise BadInput(f"{_KEY}: {path}: metric_list is a list of mappings with a key 'metric'")
    for one in metrics:
        if one.get("metric") not in _METRICS or one.get("hf_evaluate"):
            raise UnsafeInput(
                f"{_KEY}: {path}: the metric {one.get('metric')!r:.80} would be loaded as a script "
                f"of the library evaluate; choose among {', '.join(_METRICS)}"
            )
    given = config.get("dataset_kwargs") or {}
    if not isinstance(given, dict):
        raise BadInput(f"{_KEY}: {path}: dataset_kwargs is a mapping, found {given!r:.80}")
    others = [str(key) for key in given if key not in _DATA_KEYS]
    if others:
        raise UnsafeInput(
            f"{_KEY}: {path}: dataset_kwargs has {others[0]!r}, which may name code or files; "
            f"allowed are {', '.join(_DATA_KEYS)}"
        )


def _must_be_known(path: Path, name: str, roots: Sequence[str] | None) -> None:
    """Raise for a dataset that is neither plain files nor one of the hub."""
    if name in _BUILDERS or (_HUB_NAME.fullmatch(name) and not Path(name).exists()):
        return
    if roots is None and name and Path(name).is_dir():
        strange = [
            file
            for file in Path(name).rglob("*")
            if file.is_file() and file.suffix.lower() not in _PLAIN and file.suffix
        ]
        if not strange:
            return
        name = str(strange[0])
    raise UnsafeInput(
        f"{_KEY}: {path}: dataset_path {name!r:.120} is not read; name {' or '.join(_BUILDERS)} "
        "with data_files, or a dataset of the hub as ORG/NAME"
    )


_PLAIN = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".arrow", ".md", ".lock")
"""Endings in a folder that is given as dataset_path."""
