"""What a folder holds, and its digest as the content store computes it.

A digest is the SHA-256 over the sorted lines ``<relative path>\\0<size>\\0<file's SHA-256>``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from optikit.adapters.files import open_inside
from optikit.stores._folder import model_files

__all__ = ["digest_of", "folder_digest", "line_of", "looks_like", "model_digest", "sizes_of"]


def model_digest(folder: Path, code: bool = False) -> str:
    """Digest that the store gives a model folder, ``sha256:`` first.

    Args:
        code: it may bring Python sources.

    Raises:
        BadInput: no model in it, or one that is not whole.
        UnsafeInput: pickle weights or code, or a link that leaves it.
    """
    return f"sha256:{folder_digest(folder, model_files(folder, code))}"


def folder_digest(root: Path, names: Sequence[str]) -> str:
    """Hex digest of the named files below ``root``, as the store computes it."""
    return digest_of({name: line_of(root / name) for name in names})


def digest_of(lines: Mapping[str, tuple[int, str]]) -> str:
    """Hex digest of a folder, from each file's size and SHA-256."""
    text = "".join(f"{name}\0{size}\0{sha}\n" for name, (size, sha) in sorted(lines.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def line_of(
    path: Path, roots: Sequence[str] | None = None, known: str | None = None
) -> tuple[int, str]:
    """A file's size and SHA-256.

    Args:
        known: its SHA-256, where it need not be computed again.
    """
    with open_inside(path, roots, "the content store") as file:
        size = os.fstat(file.fileno()).st_size
        return size, known or hashlib.file_digest(file, "sha256").hexdigest()


def looks_like(target: Path, lines: Mapping[str, tuple[int, str]]) -> bool:
    """Cheap: the same names and sizes; contents were compared when the folder was stored."""
    if not target.is_dir():
        return False
    return sizes_of(target) == {name: size for name, (size, _) in lines.items()}


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of each file below; those that vanish meanwhile are left out."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = path.stat().st_size
    return found
