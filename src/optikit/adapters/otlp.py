"""The only importer of OpenTelemetry: sends finished spans over OTLP/HTTP, as protobuf.

Where to, with which headers, certificates and compression: the standard variables
(``OTEL_EXPORTER_OTLP_ENDPOINT``, ``..._HEADERS``, ..., and the same with ``TRACES``). No provider
and no thread is made: what is sent has happened already.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from optikit.core.spans import Span
from optikit.errors import BadInput, OptikitError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["ENDPOINT", "endpoint", "send"]

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ENDPOINT)
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_BATCH = 512
"""Spans a request."""
_PATIENCE_S = 5.0


def endpoint(environment: Mapping[str, str] | None = None) -> str | None:
    """Where traces go; None: nowhere, because nobody said, or said no.

    >>> endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    'http://127.0.0.1:4318'
    >>> endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://there", "OTEL_SDK_DISABLED": "true"})
    """
    said = os.environ if environment is None else environment
    off = said.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or said.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    return next((said[name] for name in _ENDPOINTS if said.get(name)), None)


def send(
    trace_id: str, spans: Sequence[Span], version: str, patience_s: float = _PATIENCE_S
) -> None:
    """Send a trace; a receiver that has it already keeps one of each id.

    Args:
        version: of OptiKIT.
        patience_s: for all of it together; tries again within.

    Raises:
        BadInput: the variables ask for what is not spoken here.
        OptikitError: OpenTelemetry is not installed, or nobody takes the spans.
    """
    where = _shown(endpoint() or "")
    _must_be_spoken()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ModuleNotFoundError as error:
        raise OptikitError(
            f"traces for {where} need {error.name}; install it: pip install 'optikit[telemetry]'"
        ) from None
    heard = _Heard()
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(heard)
    until = time.monotonic() + patience_s
    try:
        whole = _readable(trace_id, spans, version)
        for at in range(0, len(whole), _BATCH):
            left = max(0.1, until - time.monotonic())
            exporter = OTLPSpanExporter(timeout=left)
            try:
                result = exporter.export(whole[at : at + _BATCH])
            finally:
                exporter.shutdown()  # type: ignore[no-untyped-call]
            if result is not SpanExportResult.SUCCESS:
                why = heard.first or "it gave no reason"
                raise OptikitError(
                    f"the receiver of traces at {where} did not take them: {why}. Tell it again "
                    "with `optikit archive trace`"
                )
    finally:
        logger.removeHandler(heard)
        logger.propagate = propagates


class _Heard(logging.Handler):
    """Keeps the exporter's first word: the reason; later ones say that it gave up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        said = " ".join(record.getMessage().split())[:300].rstrip(".")
        self.first = self.first or said


def _must_be_spoken() -> None:
    asked = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _HTTP)
    if asked != _HTTP:
        raise BadInput(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {asked!r}; traces are sent by {_HTTP} alone: unset it "
            "and give the receiver's HTTP port, by custom 4318"
        )


def _shown(url: str) -> str:
    """An address without the name and password that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _readable(trace_id: str, spans: Sequence[Span], version: str) -> list[ReadableSpan]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    mine = {"service.version": version} | ({} if named else {"service.name": "optikit"})
    resource = Resource.create(mine)
    scope = InstrumentationScope("optikit", version)

    def context(span_id: str) -> SpanContext:
        sampled = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int(trace_id, 16), int(span_id, 16), False, sampled)

    return [
        ReadableSpan(
            span.name,
            context=context(span.span_id),
            parent=None if span.parent_id is None else context(span.parent_id),
            resource=resource,
            attributes=dict(span.attributes),
            status=Status() if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=_nanoseconds(span.start_s),
            end_time=_nanoseconds(span.end_s),
            instrumentation_scope=scope,
        )
        for span in spans
    ]


def _nanoseconds(seconds: float) -> int:
    """Whole milliseconds, as the journal has them."""
    return round(seconds * 1e3) * 1_000_000
