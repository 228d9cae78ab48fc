"""Whether the service's libraries are there: they are an extra."""

from __future__ import annotations

import importlib.util

from optikit.errors import OptikitError

__all__ = ["must_be_installed"]

_NEEDED = ("fastapi", "jinja2", "prometheus_client", "sqlalchemy", "uvicorn")


def must_be_installed() -> None:
    """Raise, before anything of the service is imported, where a library is missing.

    Raises:
        OptikitError: names the extra.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OptikitError(
            f"the service needs {', '.join(missing)}; pip install 'optikit[service]'"
        )
