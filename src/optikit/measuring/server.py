"""Looks at a server that somebody else runs, before any load is sent to it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from optikit.adapters.http_get import Answer, get_json
from optikit.errors import BadInput, DoesNotFit, EngineDied, UnknownName, nearest
from optikit.spec.endpoint import Endpoint
from optikit.spec.workload import Workload

__all__ = ["ServerFacts", "checker", "key_of", "key_warnings", "look_at", "must_fit"]

_OWNERS = ("vllm", "sglang", "llamacpp")
"""Engines that name themselves as the owner of the models they serve."""
_TIMEOUT_S = 10.0
_MAX_KEY = 10_000
"""Bytes of a key's file that are read."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself."""

    model: str
    max_model_len: int | None
    """Longest context in tokens, where the server tells."""
    engine: str
    version: str

    @property
    def name(self) -> str:
        """Engine and version: ``vllm 0.32.0``."""
        return self.engine if self.version == "unknown" else f"{self.engine} {self.version}"


def look_at(base_url: str, model: str | None, api_key: str | None) -> ServerFacts:
    """Ask the server for its models and its version.

    Args:
        base_url: as ``Endpoint.base_url``.
        model: None: the only one that the server has.

    Raises:
        BadInput: it is down, asks for a key, or speaks no OpenAI API; or it serves several models
            and none was named.
        UnknownName: it does not serve ``model``; says what it does serve.
    """
    url = f"{base_url}/v1/models"
    answer = get_json(url, api_key, _TIMEOUT_S)
    if answer.status is None:
        raise BadInput(f"cannot reach {base_url}: {answer.text}; is the server running there?")
    if answer.status in (401, 403):
        given = "refused the key that was given" if api_key else "asks for a key"
        raise BadInput(
            f"{base_url} {given} (HTTP {answer.status}); name the environment variable that "
            "holds it: --api-key-env VAR"
        )
    served = _models(answer)
    if served is None:
        raise BadInput(
            f"{base_url} speaks no OpenAI API: GET /v1/models answered HTTP {answer.status}: "
            f"{answer.text or '(nothing)'}"
        )
    if model is None:
        if len(served) != 1:
            raise BadInput(
                f"{base_url} serves {len(served)} models; name one with --model: "
                f"{', '.join(sorted(served)) or '(none)'}"
            )
        (model,) = served
    if model not in served:
        raise UnknownName(f"{base_url} serves no model {model!r}; {nearest(model, served)}")
    length = served[model].get("max_model_len")
    owner = served[model].get("owned_by")
    said = get_json(f"{base_url}/version", api_key, _TIMEOUT_S).body
    version = said.get("version") if isinstance(said, dict) else None
    return ServerFacts(
        model=model,
        max_model_len=length if isinstance(length, int) and length > 0 else None,
        engine=owner if owner in _OWNERS else _short(answer.headers.get("server")),
        version=_short(version),
    )


def _models(answer: Answer) -> dict[str, dict[str, Any]] | None:
    """The served models by name; None where the answer is no list of models."""
    data = answer.body.get("data") if isinstance(answer.body, dict) else None
    if answer.status != 200 or not isinstance(data, list):
        return None
    rows = [row for row in data if isinstance(row, dict) and isinstance(row.get("id"), str)]
    return {row["id"]: row for row in rows}


def _short(value: object) -> str:
    """A word of the server's for a record; it may say anything."""
    text = " ".join(value.split())[:80] if isinstance(value, str) else ""
    return text if text.isprintable() and text else "unknown"


def must_fit(workload: Workload, facts: ServerFacts) -> None:
    """Raise if the longest request cannot stand in the server's context.

    Args:
        workload: with the lengths of its trace, where it has one.

    Raises:
        DoesNotFit: with both lengths.
    """
    if facts.max_model_len is not None and workload.total_tokens > facts.max_model_len:
        raise DoesNotFit(
            f"the workload's longest request has {workload.total_tokens} tokens "
            f"({workload.prompt_tokens.high} prompt + {workload.output_tokens.high} output), the "
            f"context of {facts.model} holds {facts.max_model_len}; shorten the workload or serve "
            "the model with a longer context"
        )


def checker(endpoint: Endpoint) -> Callable[[], None]:
    """A check that raises EngineDied once the server does not answer any more."""

    def check() -> None:
        answer = get_json(f"{endpoint.base_url}/v1/models", endpoint.api_key, _TIMEOUT_S)
        if answer.status is None:
            raise EngineDied(f"the server at {endpoint.base_url} is gone: {answer.text}")

    return check


def key_of(variable: str | None, file: str | None = None) -> str | None:
    """The API key in an environment variable or a file; None where neither is named.

    Raises:
        BadInput: both are named; the variable is unset, the file cannot be read or is empty; or it
            holds what no header can carry.
    """
    if variable is None and file is None:
        return None
    if variable is not None and file is not None:
        raise BadInput("--api-key-env and --api-key-file both name a key; give one of them")
    if variable is not None:
        flag, where, key = "--api-key-env", variable, os.environ.get(variable, "").strip()
        missing = f"the environment variable {variable} is not set"
    else:
        flag, where, missing = "--api-key-file", str(file), f"{file} is empty"
        try:
            with Path(where).expanduser().open("rb") as content:
                key = content.read(_MAX_KEY).decode(errors="replace").strip()
        except OSError as error:
            raise BadInput(f"{flag}: cannot read {where}: {error.strerror}") from None
    if not key:
        raise BadInput(f"{flag}: {missing}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadInput(f"{flag}: {where} holds a blank or a sign that no key has")
    return key


def key_warnings(endpoint: Endpoint) -> list[str]:
    """A key that would cross a network in the clear is worth a word."""
    where = urlsplit(endpoint.base_url)
    if not endpoint.api_key or where.scheme == "https" or _loopback(where.hostname or ""):
        return []
    return [f"the API key goes to {where.hostname} unencrypted; use https where you can"]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
