"""``--server``: a job of a service instead of this machine's; and the tokens of services."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optikit.service.client import Server

__all__ = ["add_server", "chosen_server", "keep_token", "tokens_file"]

SERVER = "OPTIKIT_SERVER"
TOKEN = "OPTIKIT_TOKEN"  # noqa: S105


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add ``--server``."""
    parser.add_argument(
        "--server",
        metavar="URL",
        default=os.environ.get(SERVER) or None,
        help=f"of a service (optikit serve); default: ${SERVER}, else this machine",
    )


def chosen_server(args: argparse.Namespace) -> Server | None:
    """The service that was asked for; None: this machine.

    Raises:
        BadInput: no address of a service, or one that the token may not be sent to.
    """
    if args.server is None:
        return None
    from optikit.service.client import Server, service_url

    url = service_url(args.server)
    return Server(url, os.environ.get(TOKEN) or _tokens().get(url))


def tokens_file() -> Path:
    """Where tokens are kept, for their owner alone."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "optikit" / "servers.json"


def keep_token(url: str, token: str) -> Path:
    """Remember a service's token; the file is written whole, and nobody else may read it."""
    file = tokens_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    data = {"tokens": {**_tokens(), url: token}}
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as whole:
        os.fchmod(handle, 0o600)
        json.dump(data, whole, indent=2)
        whole.flush()
        os.fsync(handle)
    partial.replace(file)
    return file


def _tokens() -> dict[str, str]:
    from optikit.errors import BadInput

    file = tokens_file()
    try:
        data: Any = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {file}: {error}; remove it and log in again") from None
    found = data.get("tokens") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise BadInput(f"{file} holds no tokens; remove it and log in again")
    return {str(url): str(token) for url, token in found.items()}
