"""A running server, and the processes behind it."""

from __future__ import annotations

from optikit.spec.base import Spec

__all__ = ["Endpoint", "ProcessGroup"]


class Endpoint(Spec):
    """Anything that speaks the OpenAI completions API."""

    base_url: str
    """Without a trailing slash, ending before ``/v1``: ``http://127.0.0.1:8000``."""
    model: str
    """The name the server knows the model by."""
    vocab: int
    """Size of the vocabulary: prompts are sent as token ids, so that their lengths are exact."""
    api_key: str | None = None


class ProcessGroup(Spec):
    """A process group that a job started; enough to know it again after a restart."""

    pgid: int
    started_ticks: int
    """Start time of the group's leader in clock ticks since boot (/proc/PID/stat field 22)."""
    boot_id: str
    what: str
    """What runs in it, for a person: ``vllm server of trial t03``."""
