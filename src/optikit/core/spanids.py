"""Which span of a job's trace is open while something is said; see spans.py. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optikit.core.spans import Span, spans_of

__all__ = ["span_now"]


def span_now(
    job_id: str,
    events: Sequence[Mapping[str, Any]],
    *,
    stage: str | None = None,
    trial: str | None = None,
) -> tuple[str | None, int]:
    """Id of the last span of a trial, of a stage, or of the job, and the trial's attempts so far.

    It is the id that the trace will have.

    Args:
        events: the journal until now.
    """
    spans = spans_of(job_id, events)
    wanted = "trial" if trial is not None else f"stage {stage}" if stage is not None else "job"

    def meant(span: Span) -> bool:
        mine = trial is None or span.attributes.get("optikit.trial.id") == trial
        return span.name == wanted and mine

    found = next((span for span in reversed(spans) if meant(span)), None)
    if found is None:
        return None, 0
    starts = [s for s in spans if s.parent_id == found.span_id and s.name == "engine start"]
    return found.span_id, len(starts)
