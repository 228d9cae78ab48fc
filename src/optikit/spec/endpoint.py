"""A running server, and the processes behind it."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from optikit.errors import SpecError
from optikit.spec.base import Spec
from optikit.spec.simulated import SimulatedReplica

__all__ = ["Endpoint", "ProcessGroup"]


class Endpoint(Spec):
    """Anything that speaks the OpenAI completions or chat API.

    >>> Endpoint(base_url="http://127.0.0.1:8000/v1/", model="m", api="chat").base_url
    'http://127.0.0.1:8000'
    """

    base_url: str
    """Ends before ``/v1``, no slash behind: ``http://127.0.0.1:8000``; both are taken off."""
    model: str
    """The name the server knows the model by."""
    vocab: int = Field(default=0, ge=0)
    """Size of the vocabulary, from which token ids are drawn; text prompts do not need it."""
    api_key: str | None = Field(default=None, repr=False)
    api: Literal["completions", "chat"] = "completions"
    """Chat puts the server's template around the prompt; the template counts as prompt."""
    prompts: Literal["tokens", "text"] = "tokens"
    """What is sent: token ids, or text whose length the server counts. Chat takes text only."""
    enforce_length: bool = True
    """Send ``min_tokens`` and ``ignore_eos``. A server that takes neither may end an answer early;
    shorter answers are then no errors, and the workload's output length is only an upper bound."""
    metrics_url: str | None = None
    """Where it tells Prometheus of itself; None: nowhere that is known."""
    simulated: SimulatedReplica | None = None
    """There is no server: what to simulate in its place."""

    @model_validator(mode="before")
    @classmethod
    def _chat_sends_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("api") == "chat":
            return {"prompts": "text", **data}
        return data

    @field_validator("base_url")
    @classmethod
    def _plain(cls, value: str) -> str:
        found = urlsplit(value)
        if found.scheme not in ("http", "https") or not found.hostname:
            raise ValueError("an endpoint is an address such as http://127.0.0.1:8000")
        if found.username or found.password:  # no ValueError: its report would show the value
            raise SpecError(
                "base_url: a password in the address would be kept in records; give it as api_key"
            )
        if found.query or found.fragment:
            raise ValueError("an endpoint's address has no ? or # part")
        return value.rstrip("/").removesuffix("/v1").rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prompts == "tokens":
            if self.api == "chat":
                raise ValueError("the chat API takes no token ids; leave prompts out or say text")
            if self.vocab == 0:
                raise ValueError("prompts: tokens needs vocab, the size of the vocabulary")
        return self


class ProcessGroup(Spec):
    """A process group that a job started; enough to know it again after a restart."""

    pgid: int
    started_ticks: int
    """Start time of the group's leader in clock ticks since boot (/proc/PID/stat field 22)."""
    boot_id: str
    what: str
    """What runs in it, for a person: ``vllm server of trial t03``."""
    port: int | None = None
    """Where it listens, on 127.0.0.1."""
    devices: tuple[str, ...] = ()
    """GPUs that it may use, as CUDA_VISIBLE_DEVICES names them."""
