"""A job's trace, from its archive: to an OpenTelemetry receiver, or as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optikit import __version__
from optikit.adapters.otlp import ENDPOINT, endpoint, send
from optikit.archive import JobArchive, default_home, open_job
from optikit.core.spans import Attribute, Span, spans_of, trace_id_of
from optikit.errors import BadInput, OptikitError

__all__ = ["Trace", "send_trace", "send_traces", "tell_trace", "trace_of", "traces_of"]


@dataclass(frozen=True)
class Trace:
    """The spans of one job."""

    job_id: str
    trace_id: str
    spans: tuple[Span, ...]

    def plain(self) -> dict[str, Any]:
        """What ``optikit archive trace --json`` prints; times are seconds since the epoch."""
        return {
            "job_id": self.job_id,
            "trace_id": self.trace_id,
            "spans": [asdict(span) for span in self.spans],
        }


def trace_of(archive: JobArchive) -> Trace:
    """What the journal says so far, as spans.

    Raises:
        ArchiveError: the plan cannot be read.
    """
    spans = spans_of(archive.job_id, list(archive.events()), _facts(archive))
    return Trace(archive.job_id, trace_id_of(archive.job_id), tuple(spans))


def _facts(archive: JobArchive) -> dict[str, Attribute]:
    """What the job's own span says beside how it ended."""
    plan, ticket = archive.plan(), archive.ticket()
    recipe = plan.options[0].recipe if plan.options else None
    facts: dict[str, Attribute] = {
        "optikit.flow": plan.flow.name,
        "optikit.model": f"{plan.job.model.name}:{plan.job.model.version}",
        "optikit.sku": plan.job.compute.sku.value,
        "optikit.engine": plan.job.engine.name,
        "optikit.recipe": recipe.name if recipe is not None else "none",
        "optikit.simulated": plan.simulated,
    }
    return facts | ({} if ticket is None else {"optikit.team": ticket.team})


def send_trace(archive: JobArchive) -> Trace:
    """Send a job's trace; a second time it has the same ids.

    Raises:
        BadInput: nobody said where to.
        OptikitError: the receiver does not take it, or the archive cannot be read.
    """
    if endpoint() is None:
        raise BadInput(
            f"no receiver of traces is named; set {ENDPOINT}, such as http://127.0.0.1:4318, or "
            "look at the spans with --json"
        )
    found = trace_of(archive)
    send(found.trace_id, found.spans, __version__)
    return found


def traces_of(names: Sequence[str], home: Path | None = None) -> list[Trace]:
    """Jobs' traces, from their journals.

    Args:
        names: ids, unique beginnings of them, or ``last``.

    Raises:
        UnknownName: with the nearest ids.
        ArchiveError: an archive cannot be read.
    """
    return [trace_of(open_job(home or default_home(), name)) for name in names]


def send_traces(names: Sequence[str], home: Path | None = None) -> Iterator[Trace]:
    """Send jobs' traces to $OTEL_EXPORTER_OTLP_ENDPOINT; a second time they have the same ids.

    Args:
        names: as for ``traces_of``.

    Raises:
        UnknownName: with the nearest ids.
        BadInput: no receiver is named.
        OptikitError: it does not take them; the jobs before were sent.
    """
    for archive in [open_job(home or default_home(), name) for name in names]:
        yield send_trace(archive)


def tell_trace(archive: JobArchive) -> None:
    """At a job's end: send its trace where somebody said where to; a failure is an event.

    Raises:
        OptikitError, OSError: not even that can be written.
    """
    if endpoint() is None:
        return
    try:
        send_trace(archive)
    except (OptikitError, OSError) as error:
        archive.event_now("trace_failed", error=str(error))
