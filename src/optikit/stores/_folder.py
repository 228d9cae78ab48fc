"""What of a user's folder may enter the content store, and what makes a folder refused."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optikit.core.licence import is_licence_file
from optikit.errors import BadInput, DatasetError, UnsafeInput

__all__ = ["DATASET_SUFFIXES", "brings_code", "dataset_files", "is_model_file", "model_files"]

PICKLES = frozenset({".bin", ".pt", ".pth", ".pt2", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"})
SOURCE = ".py"
CODE = frozenset({SOURCE, ".pyc", ".pyo", ".pyd", ".so"})
MODEL_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".md"})
_NOT_RUN = (
    "a model's own code is run only where the job says model.trust_remote_code: true and its site "
    "allows it"
)
DATASET_SUFFIXES = frozenset({".jsonl", ".parquet", ".txt"})


def model_files(folder: Path, code: bool = False) -> list[str]:
    """Relative paths of the files of a checkpoint that are taken, sorted.

    Taken are weights (``.safetensors``), ``.json``, ``.txt``, ``.model``, ``.jinja``, ``.md`` and
    licence files; anything else (images, other formats) stays behind. Hidden files and folders
    are not looked at.

    Args:
        code: the model may bring Python sources, which are taken too; nothing that is compiled, and
            no code of another repository.

    Raises:
        BadInput: no config.json, no safetensors, a shard that the index names is missing, or a
            weight file that is not whole.
        UnsafeInput: pickle weights; a link that leaves the folder; unless ``code``: code, or
            ``auto_map`` in a config.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; give a model folder in Hugging Face format")
    found = list(_walk(folder))
    for name in found:
        suffix = Path(name).suffix.lower()
        if suffix in PICKLES:
            raise UnsafeInput(
                f"{folder / name} is a pickle, which runs code when it is opened; save the model "
                "with safetensors (save_pretrained(..., safe_serialization=True)) and leave "
                f"{suffix} files out"
            )
        if suffix in CODE and suffix != SOURCE:
            raise UnsafeInput(
                f"{folder / name} is compiled code, which nobody can read before it runs; leave "
                f"{suffix} files out"
            )
        if suffix == SOURCE and not code:
            raise UnsafeInput(
                f"{folder / name} is code; {_NOT_RUN}. Use a checkpoint of an architecture that "
                "the engine knows, without code files"
            )
    if "config.json" not in found:
        raise BadInput(
            f"{folder} has no config.json; give a model folder in Hugging Face format "
            "(config.json, *.safetensors, tokenizer files)"
        )
    for name in ("config.json", *(name for name in found if name.endswith("_config.json"))):
        named = _json_object(folder / name).get("auto_map")
        if named is not None and not code:
            raise UnsafeInput(
                f"{folder / name} has auto_map, which asks for the model's own code; {_NOT_RUN}. "
                "Use a checkpoint of an architecture that the engine knows, without that key"
            )
        if "--" in json.dumps(named):  # REPOSITORY--module.Class
            raise UnsafeInput(
                f"{folder / name} has auto_map with the code of another repository, which nobody "
                "here has read; copy that code into the folder and name it without '--'"
            )
    _check_weights(folder, found)
    return [name for name in found if is_model_file(name) or (code and name.endswith(SOURCE))]


def brings_code(folder: Path, names: Iterable[str]) -> bool:
    """Whether a checkpoint of these files has Python code, or asks for it."""
    configs = [name for name in names if name == "config.json" or name.endswith("_config.json")]
    return any(name.endswith(SOURCE) for name in names) or any(
        "auto_map" in _json_object(folder / name) for name in configs
    )


def dataset_files(folder: Path) -> list[str]:
    """Relative paths of the JSONL, parquet and text files below a folder, sorted.

    Raises:
        DatasetError: there are none.
        UnsafeInput: a link that leaves the folder.
    """
    found = [n for n in _walk(folder) if Path(n).suffix in DATASET_SUFFIXES]
    if not found:
        raise DatasetError(
            f"{folder} holds no file of {', '.join(sorted(DATASET_SUFFIXES))}; give a folder (or "
            "one file) of JSONL, parquet or plain text"
        )
    return found


def is_model_file(name: str) -> bool:
    """Whether a file of that name is taken of a checkpoint, code aside."""
    path = Path(name)
    return path.suffix.lower() in MODEL_SUFFIXES or is_licence_file(path.name)


def _walk(folder: Path) -> Iterator[str]:
    root = folder.resolve()
    names = []
    for base, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if (Path(base) / name).is_symlink()]
        for name in [*(n for n in files if not n.startswith(".")), *linked]:
            path = Path(base) / name
            if path.is_symlink():
                target = path.resolve()
                if not target.is_relative_to(root):
                    raise UnsafeInput(
                        f"{path} is a link to {target}, outside the folder; copy the folder with "
                        "its links resolved (cp -rL) and give the copy"
                    )
            if path.is_file():
                names.append(path.relative_to(folder).as_posix())
    yield from sorted(names)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path} holds no JSON object; the folder is not a whole model")
    return content


def _check_weights(folder: Path, found: list[str]) -> None:
    weights = [name for name in found if name.endswith(".safetensors")]
    for name in found:
        if not name.endswith(".safetensors.index.json"):
            continue
        shards = _json_object(folder / name).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise BadInput(f"{folder / name} has no weight_map; fetch the file again")
        place = Path(name).parent
        named = {(place / str(shard)).as_posix() for shard in shards.values()}
        missing = sorted(named - set(weights))
        if missing:
            raise BadInput(
                f"{folder / name} names {len(named)} weight files, {len(missing)} of them missing: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}; fetch them again"
            )
    if not weights:
        raise BadInput(
            f"{folder} has no *.safetensors; save the model with safetensors "
            "(save_pretrained(..., safe_serialization=True))"
        )
    for name in weights:
        _check_whole(folder / name)


def _check_whole(path: Path) -> None:
    """The size of a safetensors file must be what its header says.

    Format: 8 bytes little-endian length of the header, the JSON header, the tensors; each entry's
    ``data_offsets`` count from the header's end (github.com/huggingface/safetensors, README).
    """
    size = path.stat().st_size
    problem = f"{path} is not a whole safetensors file ({size} bytes); fetch it again"
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length + 8 > size:
            raise BadInput(problem)
        try:
            header = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise BadInput(problem) from None
    whole = all(isinstance(end, int) for end in ends)
    if not whole or 8 + length + max(ends, default=0) != size:
        raise BadInput(problem)
