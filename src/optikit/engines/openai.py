"""A server that somebody else runs: measured, never started, never stopped.

In the place of a checkpoint stands ``endpoint.json`` (``spec/elsewhere.py``), which the fetch stage
writes. What the server's arguments and its machine are is not known here; what it tells of itself
goes into the records. ``check`` asks it for its models: a status of any kind is a sign of life.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optikit.adapters.http_get import Answer, post_json
from optikit.engines._endpoint import OF_A_SPEC, checker, key_of, look_at, what_it_says
from optikit.errors import BadInput, DoesNotFit, EngineStartFailed
from optikit.journal import patiently
from optikit.spec.elsewhere import ENDPOINT_FILE, RemoteModel
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.recipe import EngineFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import DeviceKind

__all__ = ["ENGINE", "OpenAI"]

_UNKNOWN = "unknown"
_PROMPT, _OUTPUT = 8, 4
_TEXT = "one two three four five six seven eight"
_REFUSED = (400, 404, 405, 415, 422, 501)
"""The server understood where it was asked, and takes no such request."""


@dataclass
class _SomebodyElses:
    """See ``engines.base.Server``."""

    endpoint: Endpoint
    startup_s: float
    """How long the first whole completion took, the questions before it included."""
    says: Mapping[str, str]
    command: Sequence[str] = field(default=())

    def check(self) -> None:
        """Raise EngineDied if nothing answers any more."""
        checker(self.endpoint)()


class OpenAI:
    """The engine: anything that speaks the OpenAI completions or chat API."""

    facts = EngineFacts(
        name="openai", serves={"cpu": ("none",)}, elsewhere=True, prompt_logprobs=False
    )

    def check(self, serving: ServingConfig, device: DeviceKind) -> None:
        """Raise BadInput for flags: the server has its own."""
        for name, _ in serving.extra_flags:
            raise BadInput(
                f"engine.flags: {name!r} cannot be given to a server that somebody else started; "
                "leave the flags out"
            )

    def version(self) -> str:
        """Not known before the server is asked; the records have what it says."""
        return _UNKNOWN

    def packages(self) -> dict[str, str]:
        """None that could be seen from here."""
        return {}

    def command(
        self,
        model: Path,
        serving: ServingConfig,
        device: DeviceKind,
        *,
        host: str,
        port: int,
        name: str | None = None,
    ) -> list[str]:
        """Empty: nothing is started."""
        return []

    def environment(self, serving: ServingConfig, device: DeviceKind) -> dict[str, str]:
        """Empty: nothing is started."""
        return {}

    @contextmanager
    def serve(
        self,
        model: Path,
        serving: ServingConfig,
        device: DeviceKind,
        *,
        vocab: int,
        log: Path,
        port: int | None = None,
        start_timeout_s: float = 600.0,
        what: str = "server",
        on_start: Callable[[ProcessGroup], None] | None = None,
    ) -> Iterator[_SomebodyElses]:
        """The server, once it answered a whole completion; port and ``on_start`` mean nothing.

        Raises:
            BadInput: no such server, key or model there, or requests that it does not take.
            DoesNotFit: its context is shorter than ``serving.max_model_len``.
            EngineStartFailed: no whole completion within the time.
        """
        self.check(serving, device)
        begun = time.monotonic()
        asked = _read(model)
        key = asked.key
        secret = key_of(key.env, key.file, OF_A_SPEC, asked.roots) if key else None
        endpoint = Endpoint.parse(
            {
                "base_url": asked.url,
                "model": asked.model,
                "vocab": vocab if asked.prompts == "tokens" else 0,
                "api_key": secret,
                "api": asked.api,
                "prompts": asked.prompts,
                "enforce_length": asked.enforce_length,
            },
            "engine",
        )
        facts = look_at(endpoint.base_url, asked.model, secret, OF_A_SPEC)
        if facts.max_model_len is not None and serving.max_model_len > facts.max_model_len:
            raise DoesNotFit(
                f"the workload's longest request has {serving.max_model_len} tokens, the context "
                f"of {asked.model} at {endpoint.base_url} holds {facts.max_model_len}; shorten the "
                "workload"
            )
        _whole_completion(endpoint, start_timeout_s, what)
        took = time.monotonic() - begun
        says = what_it_says(endpoint.base_url, facts, secret)
        lines = [f"{what}: somebody else's server at {endpoint.base_url}; nothing was started"]
        lines += [f"it says: {name} {said}" for name, said in says.items()]

        def write() -> None:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as sink:
                sink.write("\n".join(lines) + "\n")

        patiently(write, f"write {log}")
        yield _SomebodyElses(endpoint, took, says)


def _read(model: Path) -> RemoteModel:
    file = model / ENDPOINT_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{file} does not say which server to measure ({error}); run the job again"
        ) from None
    return RemoteModel.parse(content, str(file))


def _whole_completion(endpoint: Endpoint, timeout_s: float, what: str) -> None:
    """Return after one answer of the asked length, as the load will ask for it.

    Raises:
        BadInput: the server takes no such requests; says which key of the spec helps.
        EngineStartFailed: it failed, or did not answer in time.
    """
    answer = _ask(endpoint, timeout_s)
    if endpoint.api_key:  # some servers repeat the key that they refuse
        answer = replace(answer, text=answer.text.replace(endpoint.api_key, "***"))
    if answer.status in _REFUSED:
        raise BadInput(_why_refused(endpoint, answer, timeout_s))
    if answer.status != 200:
        found = f"HTTP {answer.status}: {answer.text}" if answer.status else answer.text
        raise EngineStartFailed(
            f"{what}: {endpoint.base_url} gave no whole completion within {timeout_s:g} s: "
            f"{found or '(nothing)'}",
            cause="crash" if answer.status else "timeout",
        )
    usage = answer.body.get("usage") if isinstance(answer.body, dict) else None
    done = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(done, int):
        raise BadInput(
            f"{endpoint.base_url} does not say how many tokens it answered (usage), found "
            f"{answer.text or '(nothing)'}; without that no rate can be measured"
        )
    if endpoint.enforce_length and done != _OUTPUT:
        raise BadInput(
            f"{endpoint.base_url} was asked for {_OUTPUT} tokens and answered {done}: it ignores "
            "min_tokens or ignore_eos; set engine.enforce_length: false to take shorter answers"
        )


def _why_refused(endpoint: Endpoint, answer: Answer, timeout_s: float) -> str:
    """Which part of the request the server does not take, found by leaving it out."""
    said = f"HTTP {answer.status}: {answer.text or '(nothing)'}"
    if endpoint.enforce_length:
        plain = endpoint.model_copy(update={"enforce_length": False})
        if _ask(plain, timeout_s).status == 200:
            return (
                f"{endpoint.base_url} refuses min_tokens or ignore_eos ({said}); set "
                "engine.enforce_length: false, and answers may be shorter than asked"
            )
    if endpoint.prompts == "tokens":
        words = endpoint.model_copy(update={"prompts": "text", "enforce_length": False})
        if _ask(words, timeout_s).status == 200:
            return (
                f"{endpoint.base_url} refuses prompts of token ids ({said}); set engine.prompts: "
                "text, and the server counts them"
            )
    if endpoint.api == "completions":
        chat = endpoint.model_copy(
            update={"api": "chat", "prompts": "text", "enforce_length": False}
        )
        if _ask(chat, timeout_s).status == 200:
            return f"{endpoint.base_url} takes chats alone ({said}); set engine.api: chat"
    return f"{endpoint.base_url} refuses the first completion: {said}"


def _ask(endpoint: Endpoint, timeout_s: float) -> Answer:
    body: dict[str, Any] = {"model": endpoint.model, "max_tokens": _OUTPUT, "temperature": 0}
    if endpoint.api == "chat":
        body["messages"] = [{"role": "user", "content": _TEXT}]
    elif endpoint.prompts == "tokens":
        body["prompt"] = [(7 * index + 3) % endpoint.vocab for index in range(_PROMPT)]
    else:
        body["prompt"] = _TEXT
    if endpoint.enforce_length:
        body |= {"min_tokens": _OUTPUT, "ignore_eos": True}
    path = "chat/completions" if endpoint.api == "chat" else "completions"
    return post_json(f"{endpoint.base_url}/v1/{path}", body, endpoint.api_key, timeout_s)


ENGINE = OpenAI()
