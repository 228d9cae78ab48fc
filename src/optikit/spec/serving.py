"""The engine's arguments for one deployment."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["Flag", "ServingConfig"]

Flag = str | int | float | bool


class ServingConfig(Spec):
    """Exactly what a server is started with; two equal configs start equal servers."""

    tensor_parallel: int = Field(default=1, ge=1)
    max_num_seqs: int = Field(default=256, ge=1)
    """Requests that may be in one batch."""
    max_num_batched_tokens: int = Field(default=8192, ge=1)
    """Tokens that one engine step may process."""
    max_model_len: int = Field(ge=2)
    """Longest context (prompt + output) in tokens."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    enforce_eager: bool = False
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    data_parallel: int = Field(default=1, ge=1)
    """Replicas behind one address, each over ``tensor_parallel`` devices."""
    enable_prefix_caching: bool = False
    """Off unless said: a warm cache makes repeated prompts look fast."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    block_size: int | None = Field(default=None, ge=1)
    """Tokens of one KV block; None: the engine's own."""
    scheduling_policy: Literal["fcfs", "priority"] = "fcfs"
    speculative_ngram: int = Field(default=0, ge=0)
    """Tokens that n-gram speculation proposes in a step; 0: no speculation."""
    trust_remote_code: bool = False
    """The server runs code that the model brings; its job asked for it, and its site allowed it."""
    extra_flags: tuple[tuple[str, Flag], ...] = ()
    """Further engine flags as (name, value), sorted by name."""

    @property
    def devices(self) -> int:
        """Devices that a server occupies: tensor_parallel x data_parallel."""
        return self.tensor_parallel * self.data_parallel

    @property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON; equal configs, equal digest."""
        content = self.model_dump(mode="json")
        if not self.trust_remote_code:  # configs of before the field keep their digest
            del content["trust_remote_code"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def diff(self, other: ServingConfig) -> dict[str, tuple[object, object]]:
        """Fields that differ, as ``{name: (mine, other's)}``."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}
