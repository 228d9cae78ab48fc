"""What the engine of a trial said of itself, a row a probe; for a person."""

from __future__ import annotations

from typing import Any

from optikit.spec.engine_metrics import EngineMetrics

__all__ = ["engine_rows", "engine_text"]


def engine_rows(said: EngineMetrics) -> list[dict[str, Any]]:
    """Each probe by the engine's own counters, beside the client's."""
    return [
        {
            "probe": one.probe,
            "requests": one.requests,
            "client's": one.client_requests,
            "prompt tokens/s": one.prompt_tokens_per_s,
            "generated tokens/s": one.generation_tokens_per_s,
            "against the client": _signed(one.difference),
            "KV cache, most": _percent(one.kv_cache_peak),
            "running, most": one.running_peak,
            "waiting, most": one.waiting_peak,
            "preemptions": one.preemptions,
            "prefix hits": _percent(one.prefix_cache_hit_rate),
        }
        for one in said.probes
    ]


def engine_text(trial_id: str, said: EngineMetrics) -> tuple[str, ...]:
    """What the figures are of, and what does not fit."""
    failed = f", {said.failed} failed" if said.failed else ""
    whole = f"Trial {trial_id}, by its engine's own metrics: {said.scrapes} scrapes{failed}; "
    return (f"{whole}a peak between two of them is not seen.", *said.notes)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _signed(share: float | None) -> str | None:
    """A difference for a person.

    >>> _signed(0.0134), _signed(0.0), _signed(None)
    ('+1.3%', '+0.0%', None)
    """
    return None if share is None else f"{share:+.1%}"
