"""An engine's own environment: where its interpreter is, and which packages it holds.

Read from metadata; nothing of the engine is imported, which would take ten seconds.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from optikit.errors import EngineError

__all__ = ["interpreter_of", "packages_in"]

_VERSIONS = """
import json
import sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def interpreter_of(told: Path | None, variable: str, folder: str, advice: str) -> Path:
    """Absolute path of an environment's interpreter (links kept: they name the environment).

    Args:
        told: by the caller; comes before the variable.
        variable: of the environment, which names it.
        folder: of an environment beside the main one, or here, which is looked at where nobody
            names one.
        advice: how to get one, as the end of a message.

    Raises:
        EngineError: there is none.
    """
    named = os.environ.get(variable)
    if told is not None or named:
        places = [told or Path(str(named))]
    else:
        inside = Path(folder) / "bin" / "python"
        places = [Path(sys.prefix).parent / inside, Path.cwd() / inside]
    for place in places:
        if os.access(place, os.X_OK) and place.is_file():
            return place.absolute()
    raise EngineError(
        f"no engine environment: looked for {' and '.join(map(str, places))}. {advice} and point "
        f"{variable} at its python"
    )


@functools.lru_cache(maxsize=16)
def packages_in(
    python: Path, packages: tuple[str, ...], needed: tuple[str, ...], advice: str
) -> Mapping[str, str]:
    """Versions of those of ``packages`` that an environment has, by name.

    Args:
        needed: one of them has to be there.
        advice: how to get it.

    Raises:
        EngineError: none of ``needed`` is there.
    """
    done = subprocess.run(  # noqa: S603
        [python, "-I", "-c", _VERSIONS, *packages], capture_output=True, text=True, timeout=60
    )
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    if not set(needed) & set(found):
        raise EngineError(f"{python} has no {needed[0]}: {advice}\n{done.stderr[-500:]}")
    return found
