"""What a server says of itself while it is measured, beside what the client sees."""

from __future__ import annotations

from optikit.spec.base import Spec

__all__ = ["EngineMetrics", "ProbeMetrics"]


class ProbeMetrics(Spec):
    """One probe by the engine's own counters; None: it does not tell that.

    Counters are compared over all requests of the probe, those before and behind the measured ones
    too, from the scrape before the first request to the one after the last.
    """

    probe: int
    seconds: float
    """Between these two scrapes."""
    requests: int | None = None
    """Finished; those that the client gave up are left out."""
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    prompt_tokens_per_s: float | None = None
    generation_tokens_per_s: float | None = None
    kv_cache_peak: float | None = None
    """Share, of the replica that had most; as seen by the scrapes, like every peak."""
    running_peak: int | None = None
    """Requests, over all replicas."""
    waiting_peak: int | None = None
    preemptions: int | None = None
    prefix_cache_hit_rate: float | None = None
    """Share of the prompt tokens that were asked for."""
    client_requests: int = 0
    """Answered whole, as the client counts."""
    client_prompt_tokens: int = 0
    """Of these."""
    client_generation_tokens: int = 0
    difference: float | None = None
    """Generated tokens: the engine's over the client's, minus 1."""


class EngineMetrics(Spec):
    """One server's, over the probes of its trial; derived from the kept scrapes alone."""

    file: str
    """Beside the trial's raw files."""
    digest: str
    """SHA-256 of that file, ``sha256:`` first."""
    scrapes: int
    """Kept."""
    failed: int = 0
    """That got no answer."""
    prompt_tokens_per_s: float | None = None
    """Of the probe with the most, as the next one."""
    generation_tokens_per_s: float | None = None
    kv_cache_peak: float | None = None
    running_peak: int | None = None
    waiting_peak: int | None = None
    preemptions: int | None = None
    """Over all probes."""
    prefix_cache_hit_rate: float | None = None
    """Over all probes."""
    difference: float | None = None
    """Generated tokens of all probes: the engine's over the client's, minus 1."""
    notes: tuple[str, ...] = ()
    """What does not fit, or is missing."""
    probes: tuple[ProbeMetrics, ...] = ()
