"""Looks at a server that somebody else runs, before any load is sent to it."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from optikit.adapters.files import open_inside
from optikit.adapters.http_get import Answer, connect_ms, get_json, get_text
from optikit.errors import BadInput, DoesNotFit, EngineDied, UnknownName, nearest
from optikit.spec.endpoint import Endpoint
from optikit.spec.workload import Workload

__all__ = [
    "OF_A_SPEC",
    "ServerFacts",
    "Words",
    "checker",
    "key_of",
    "key_warnings",
    "look_at",
    "must_fit",
    "what_it_says",
]

_OWNERS = ("vllm", "sglang", "llamacpp")
"""Engines that name themselves as the owner of the models they serve."""
_TIMEOUT_S = 10.0
_MAX_KEY = 10_000
"""Bytes of a key's file that are read."""


_METRIC = re.compile(r"^vllm:cache_config_info\{(?P<labels>[^}]*)\}", re.MULTILINE)
_LABEL = re.compile(r'(?P<name>\w+)="(?P<value>[^"]*)"')
_LABELS = (
    *("block_size", "cache_dtype", "enable_prefix_caching", "gpu_memory_utilization"),
    "num_gpu_blocks",
)
"""Of vLLM's own words on its cache, those that its speed depends on."""


@dataclass(frozen=True)
class Words:
    """How whoever asks names what he may give: an option of the command line, or a key."""

    model: str = "--model"
    env: str = "--api-key-env"
    file: str = "--api-key-file"
    give_key: str = "name the environment variable that holds it: --api-key-env VAR"


_OF_THE_COMMAND_LINE = Words()
OF_A_SPEC = Words(
    model="engine.model",
    env="engine.key.env",
    file="engine.key.file",
    give_key="name where it lies: engine.key: {env: VARIABLE} or {file: PATH}",
)


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself."""

    model: str
    max_model_len: int | None
    """Longest context in tokens, where the server tells."""
    engine: str
    version: str
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The model's line of ``/v1/models``."""

    @property
    def name(self) -> str:
        """Engine and version: ``vllm 0.32.0``."""
        return self.engine if self.version == "unknown" else f"{self.engine} {self.version}"


def look_at(
    base_url: str,
    model: str | None,
    api_key: str | None,
    words: Words = _OF_THE_COMMAND_LINE,
) -> ServerFacts:
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
        raise BadInput(f"{base_url} {given} (HTTP {answer.status}); {words.give_key}")
    served = _models(answer)
    if served is None:
        raise BadInput(
            f"{base_url} speaks no OpenAI API: GET /v1/models answered HTTP {answer.status}: "
            f"{answer.text or '(nothing)'}"
        )
    if model is None:
        if len(served) != 1:
            raise BadInput(
                f"{base_url} serves {len(served)} models; name one with {words.model}: "
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
        row=served[model],
    )


def what_it_says(base_url: str, facts: ServerFacts, api_key: str | None) -> dict[str, str]:
    """What a record keeps of a server: its own words, cut and plain, and the way to it.

    Of ``/v1/models`` the model's line, of ``/version`` the version, of vLLM's ``/metrics`` what it
    tells of its cache; its arguments are known to nobody here.
    """
    found = {"engine": facts.engine, "version": facts.version}
    if facts.max_model_len is not None:
        found["max_model_len"] = str(facts.max_model_len)
    for name in ("owned_by", "root"):
        found[name] = _short(facts.row.get(name))
    cache = _METRIC.search(get_text(f"{base_url}/metrics", api_key, _TIMEOUT_S))
    labels = dict(_LABEL.findall(cache["labels"])) if cache else {}
    found |= {name: _short(labels.get(name)) for name in _LABELS}
    took = connect_ms(base_url)
    if took is not None:
        found["network_round_trip_ms"] = f"{took:.3g}"
    return {name: said for name, said in found.items() if said != "unknown"}


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


def key_of(
    variable: str | None,
    file: str | None = None,
    words: Words = _OF_THE_COMMAND_LINE,
    roots: Sequence[str] | None = None,
) -> str | None:
    """The API key in an environment variable or a file; None where neither is named.

    Args:
        roots: folders below which the file must lie; None: anywhere.

    Raises:
        BadInput: both are named; the variable is unset, the file cannot be read or is empty; or it
            holds what no header can carry.
        UnsafeInput: the file leads outside the roots.
    """
    if variable is None and file is None:
        return None
    if variable is not None and file is not None:
        raise BadInput(f"{words.env} and {words.file} both name a key; give one of them")
    if variable is not None:
        flag, where, key = words.env, variable, os.environ.get(variable, "").strip()
        missing = f"the environment variable {variable} is not set"
    else:
        flag, where, missing = words.file, str(file), f"{file} is empty"
        try:
            with open_inside(Path(where).expanduser(), roots, flag) as content:
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
