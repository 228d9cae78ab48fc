"""What a person says of jobs that they want to see, as ``spec.listing.Wanted`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from optikit.core.retention import age_s
from optikit.errors import BadInput, UnknownName, nearest
from optikit.spec.listing import JOB_STATES, Wanted

__all__ = ["since", "wanted"]


def since(text: str, now_s: float) -> str:
    """A moment, from an age or a date, in UTC.

    Args:
        now_s: seconds since the epoch.

    Raises:
        BadInput: it is neither.

    >>> since("2d", 200_000), since("2026-11-27", 0), since("2026-11-27T10:30+02:00", 0)
    ('1970-01-01T07:33:20Z', '2026-11-27T00:00:00Z', '2026-11-27T08:30:00Z')
    """
    try:
        at = datetime.fromisoformat(text.strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        try:
            at = datetime.fromtimestamp(max(0.0, now_s - age_s(text)), UTC)
        except BadInput:
            raise BadInput(
                f"{text!r} is no moment; write it as an age (7d, 12h) or a date in UTC (2026-11-27)"
            ) from None
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def wanted(
    now_s: float,
    states: Sequence[str] = (),
    model: str | None = None,
    team: str | None = None,
    since_text: str | None = None,
    limit: int | None = None,
) -> Wanted:
    """From the words of a command line.

    Raises:
        UnknownName: no such state.
        BadInput: no moment, or no number of jobs.
    """
    for state in states:
        if state not in JOB_STATES:
            raise UnknownName(f"no job is ever {state!r}; {nearest(state, JOB_STATES)}")
    if limit is not None and limit < 1:
        raise BadInput(f"--limit {limit}: ask for one job or more")
    return Wanted(
        states=tuple(states),
        model=model,
        team=team,
        since=None if since_text is None else since(since_text, now_s),
        limit=limit,
    )
