"""Shapes of models: shipped ones by name, others from a folder's config.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from optikit.adapters.files import inside, open_inside
from optikit.core.shape import shape_from_config
from optikit.errors import BadInput
from optikit.spec.model import ModelShape

__all__ = ["shape_of_folder", "shape_of_text", "shipped_names", "shipped_shape"]

_MAX_CONFIG = 16 * 2**20
"""Bytes of a config.json that are read; quantized ones list layers, and stay far below."""


@cache
def _shipped() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name to (file, content); every name a file lists leads to it."""
    found = {}
    folder = files("optikit.stores") / "_shapes"
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            content = json.loads(entry.read_text(encoding="utf-8"))
            found.update(dict.fromkeys(content["names"], (entry.name, content)))
    return found


def shipped_names() -> list[str]:
    """Names whose shape ships with the package, sorted."""
    return sorted(_shipped())


def shipped_shape(name: str) -> ModelShape | None:
    """The shape that ships under ``name`` (case does not matter), None where none does.

    >>> shipped_shape("llama-70b").layers
    80
    """
    entry = _shipped().get(name.lower())
    if entry is None:
        return None
    file, content = entry
    return shape_from_config(content["config"], f"{content['source']} (shipped: {file})")


def shape_of_folder(path: Path, roots: Sequence[str] | None = None) -> ModelShape:
    """The shape that a checkpoint folder's config.json describes.

    Args:
        roots: folders below which it must lie, links resolved; None: anywhere.

    Raises:
        BadInput: no folder, no config.json, no JSON, or not a decoder-only transformer.
        UnsafeInput: it leads outside the roots.
    """
    config = path / "config.json"
    inside(path, roots, "model.uri")
    if not config.is_file():
        found = "no config.json in it" if path.is_dir() else "no such folder"
        raise BadInput(
            f"{path} is not a model folder: {found}; give a folder in Hugging Face format "
            "(config.json, *.safetensors, tokenizer files)"
        )
    try:
        with open_inside(config, roots, "model.uri") as file:
            content = json.loads(file.read(_MAX_CONFIG).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{config} cannot be read as JSON: {error}") from None
    return _shape(content, str(config))


def shape_of_text(text: bytes, where: str) -> ModelShape:
    """The shape that a config.json describes.

    Args:
        where: it was found, for the message.

    Raises:
        BadInput: no JSON, or not a decoder-only transformer.
    """
    try:
        return _shape(json.loads(text.decode("utf-8")), where)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} cannot be read as JSON: {error}") from None


def _shape(content: object, where: str) -> ModelShape:
    if not isinstance(content, dict):
        raise BadInput(f"{where} holds no JSON object; give the model's own config.json")
    return shape_from_config(content, where)
