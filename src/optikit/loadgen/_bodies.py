"""The requests of a load as bytes, made before the clock starts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from optikit.adapters.http import load_session, post_json
from optikit.core.load import Load
from optikit.loadgen._texts import Texts, learn, server_count
from optikit.spec.endpoint import Endpoint

__all__ = ["Bodies", "headers", "url"]

_KNOWN = 16
"""Servers whose tokenizer is remembered."""


def url(endpoint: Endpoint) -> str:
    """Where the requests go."""
    path = "chat/completions" if endpoint.api == "chat" else "completions"
    return f"{endpoint.base_url}/v1/{path}"


def headers(endpoint: Endpoint) -> dict[str, str]:
    """What a request says beside its body."""
    return {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}


class Bodies:
    """Makes requests; remembers what it learned about the servers' tokenizers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Texts] = {}

    async def of(self, endpoint: Endpoint, load: Load, timeout_s: float) -> list[bytes]:
        """One body a request, in the order of ``load``.

        Raises:
            BadInput: prompts of these lengths cannot be made.
            HttpError: the server was asked to count tokens and did not.
            TimeoutError: nor within ``timeout_s``.
        """
        prompts: list[Any]
        if endpoint.prompts == "tokens":
            prompts = list(load.prompts(endpoint.vocab))
        else:
            async with asyncio.timeout(timeout_s):
                texts = await self._texts(endpoint, load)
            prompts = list(texts.of(load))
        sizes = load.output_tokens.tolist()
        return [_body(endpoint, prompt, size) for prompt, size in zip(prompts, sizes, strict=True)]

    async def _texts(self, endpoint: Endpoint, load: Load) -> Texts:
        async with load_session() as session:

            async def ask(path: str, body: dict[str, Any]) -> Any:
                return await post_json(
                    session, f"{endpoint.base_url}{path}", body, headers(endpoint)
                )

            key = (endpoint.base_url, endpoint.model, endpoint.api)
            known = self._known.get(key)
            sizes = set(load.prompt_tokens.tolist())
            if known is not None and {min(sizes, default=0), max(sizes, default=0)} <= (
                known.checked | {0}
            ):
                return known
            count = await server_count(ask, endpoint.model, chat=endpoint.api == "chat")
            texts = known or await learn(count)
            await texts.check(sorted(sizes), count)
        if len(self._known) >= _KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[key] = texts
        return texts


def _body(endpoint: Endpoint, prompt: object, output_tokens: int) -> bytes:
    asked: dict[str, object] = {"model": endpoint.model}
    if endpoint.api == "chat":
        asked["messages"] = [{"role": "user", "content": prompt}]
    else:
        asked["prompt"] = prompt
    asked["max_tokens"] = output_tokens
    if endpoint.enforce_length:
        asked |= {"min_tokens": output_tokens, "ignore_eos": True}
    asked |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked, separators=(",", ":")).encode()
