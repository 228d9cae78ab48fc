"""A job's events as lines for a person who follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optikit.reports.words import duration

__all__ = ["serving_words", "told"]


def told(event: Mapping[str, Any], elsewhere: bool = False) -> str:
    """One line, indented by what it is a part of; empty where the event is not worth one.

    Args:
        elsewhere: the server is somebody else's, and its arguments are not known.

    >>> told({"kind": "stage", "stage": "tune", "state": "done", "seconds": 75})
    'stage tune: done in 1 min 15 s'
    >>> told({"kind": "process_group", "group": {}})
    ''
    """
    if elsewhere and event["kind"] == "trial_started":
        return f"  trial {event['trial']} as the server is"
    words = _WORDS.get(event["kind"])
    return words(event) if words else ""


def serving_words(serving: Mapping[str, Any]) -> str:
    """What is tuned first, of a serving config."""
    return (
        f"TP {serving['tensor_parallel']}, max_num_seqs {serving['max_num_seqs']}, "
        f"max_num_batched_tokens {serving['max_num_batched_tokens']}"
    )


def _stage(event: Mapping[str, Any]) -> str:
    took = f" in {duration(event['seconds'])}" if event.get("seconds") is not None else ""
    return f"stage {event['stage']}: {event['state']}{took}"


def _trial_started(event: Mapping[str, Any]) -> str:
    return f"  trial {event['trial']} ({event['variant']}): {serving_words(event['serving'])}"


def _probe(event: Mapping[str, Any]) -> str:
    probe = event["probe"]
    if probe["phase"] == "warmup":
        return ""
    load = (
        f"{probe['rate_rps']:.3g} req/s"
        if probe["rate_rps"]
        else f"closed loop of {probe['concurrency']}"
    )
    return f"    probe {load}: {probe['verdict']} ({probe['reason']})"


def _trial(event: Mapping[str, Any]) -> str:
    trial = event["trial"]
    rate = trial["rate"]
    if rate is None or rate["outcome"] != "pass":
        why = rate["reason"] if rate else trial["error"]
        return f"  trial {trial['id']}: {rate['outcome'] if rate else 'failed'} ({why})"
    return f"  trial {trial['id']}: {rate['rate_rps']:.3g} req/s"


def _note(event: Mapping[str, Any]) -> str:
    return f"  {event['text']}"


def _attempt_failed(event: Mapping[str, Any]) -> str:
    first = event["error"].splitlines()[0] if event["error"] else ""
    return f"  {event['what']}: attempt {event['attempt']} failed ({first})"


_WORDS = {
    "stage": _stage,
    "trial_started": _trial_started,
    "probe": _probe,
    "trial": _trial,
    "note": _note,
    "attempt_failed": _attempt_failed,
}
