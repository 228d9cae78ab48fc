"""A server that somebody else runs: where it is, how it is asked, and where its key lies."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from optikit.spec.base import Spec

__all__ = ["ENDPOINT_FILE", "KeyRef", "RemoteModel"]

ENDPOINT_FILE = "endpoint.json"
"""A :class:`RemoteModel`, in the place of a checkpoint."""


class KeyRef(Spec):
    """Where a key lies; the key itself is in no spec, record or log."""

    env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
    """Environment variable of the process that runs the job."""
    file: str | None = Field(default=None, min_length=1)
    """A file with nothing but the key."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("a key is named by env: VARIABLE or by file: PATH, one of them")
        return self


class RemoteModel(Spec):
    """What stands where other jobs have a checkpoint."""

    url: str
    """Base URL of the server, with or without ``/v1``."""
    model: str
    """As the server knows it."""
    key: KeyRef | None = None
    roots: tuple[str, ...] | None = None
    """Folders below which the key's file must lie; None: anywhere."""
    api: Literal["completions", "chat"] = "completions"
    prompts: Literal["tokens", "text"] = "tokens"
    enforce_length: bool = True
