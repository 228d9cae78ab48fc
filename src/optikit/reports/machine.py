"""What this machine has for OptiKIT and what it lacks; the remedy stands beside each lack."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from optikit.adapters.hardware import hardware
from optikit.engines import ENGINES
from optikit.errors import EngineError

__all__ = ["examine"]

_LIBRARIES = {
    "ray": ("ray", "cluster", "stages on Ray"),
    "llmcompressor": ("llmcompressor", "compress", "the compress stage"),
    "lm_eval": ("lm_eval", "evaluate", "the evaluate stage"),
    "optuna": ("optuna", "tune", "the tune stage"),
    "mlflow": ("mlflow-skinny", "mlflow", "the experiment tracker"),
}
_FREE_BYTES = 10_000_000_000


def examine(home: Path) -> list[dict[str, Any]]:
    """One row a check: ``what``, ``ok``, ``found``, ``remedy``."""
    rows = [
        {"what": key, "ok": True, "found": value, "remedy": ""} for key, value in hardware().items()
    ]
    for module, (package, extra, use) in _LIBRARIES.items():
        present = importlib.util.find_spec(module) is not None
        rows.append(
            {
                "what": f"{module} ({use})",
                "ok": present,
                "found": importlib.metadata.version(package) if present else "not installed",
                "remedy": "" if present else f"make setup, or: pip install 'optikit[{extra}]'",
            }
        )
    for name in ENGINES.names():
        try:
            found, remedy = ENGINES.load(name).version(), ""
        except EngineError as error:
            found, remedy = "not found", str(error)
        rows.append({"what": f"engine {name}", "ok": not remedy, "found": found, "remedy": remedy})
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    rows.append(
        {
            "what": f"disk under {home}",
            "ok": free >= _FREE_BYTES,
            "found": f"{free / 1e9:.1f} GB free",
            "remedy": ""
            if free >= _FREE_BYTES
            else f"free {_FREE_BYTES / 1e9:.0f} GB, or set OPTIKIT_HOME to a larger disk",
        }
    )
    return rows
