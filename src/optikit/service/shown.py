"""What a team may read of the service's file system: its own home, as ``~``, and what it named.

Records and errors are written for who runs a job on a machine of their own, so they name folders.
Here every absolute path outside the team's home keeps its last part alone.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import optikit

__all__ = ["paths_said", "shown"]

_PATH = re.compile(r"(?<![\w.~/-])/[^\s\"'`<>|;,:()\[\]{}\\]+")
"""An absolute path, as far as it can be told from text: one with a space is known by its root."""


def shown(data: Any, home: Path, said: Collection[str] = ()) -> Any:
    """JSON values as a team may see them; numbers that JSON does not know are null.

    Args:
        home: the team's.
        said: paths that the team named itself.
    """
    if isinstance(data, str):
        return _text(data, str(home), said) if "/" in data else data
    if isinstance(data, dict):
        return {key: shown(value, home, said) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [shown(value, home, said) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def paths_said(spec: Any) -> set[str]:
    """Absolute paths among a job spec's texts."""
    if isinstance(spec, str):
        return {"/" + match[0].strip("/.") for match in _PATH.finditer(spec)}
    parts = spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ()
    return {path for part in parts for path in paths_said(part)}


def _text(text: str, home: str, said: Collection[str]) -> str:
    text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    for root in _roots(home):
        text = re.sub(re.escape(root) + r"(?![\w.-])", "...", text)
    return _PATH.sub(lambda match: _last_part(match[0], said), text)


def _last_part(path: str, said: Collection[str]) -> str:
    parts = path.strip("/").split("/")  # of file:///a/b too
    if "/" + path.strip("/.") in said or not _is_root(parts[0]):
        return path  # "/v1/models" is none of this machine's
    return f".../{parts[-1]}" if len(parts) > 1 else path


@cache
def _is_root(name: str) -> bool:
    """Whether a path of this machine begins so."""
    return bool(name) and Path("/", name).exists()


@cache
def _roots(home: str) -> tuple[str, ...]:
    """Folders that messages name most, some of which may have a space; the longest first."""
    service = Path(home).parents[1]
    known = [service, Path(sys.prefix), Path(optikit.__file__).parents[1], Path.home(), Path.cwd()]
    return tuple(sorted({str(p) for p in known if len(p.parts) > 2}, key=len, reverse=True))
