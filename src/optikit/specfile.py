"""Reads what a person wrote: YAML or JSON files of keys and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from optikit.errors import SpecError

__all__ = ["read_mapping"]

_SPEC_BYTES = 1_000_000


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The keys and values of a YAML or JSON file.

    Args:
        what: what the file should be, for the message: ``job spec``.

    Raises:
        SpecError: no such file, too large, not YAML, or no mapping.
    """
    try:
        if path.stat().st_size > _SPEC_BYTES:
            raise SpecError(f"{path} is larger than {_SPEC_BYTES} bytes: not a {what}")
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read the {what} {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path}: a {what} is a mapping of keys, found {type(data).__name__}")
    return data
