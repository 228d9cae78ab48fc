"""When and what OpenTelemetry is asked to send; sending itself: tests/integration."""

from __future__ import annotations

import sys

import pytest

from optikit.adapters.otlp import endpoint, send
from optikit.core.spans import Span, trace_id_of
from optikit.errors import BadInput, OptikitError

SPAN = Span("job", "00000000000000a1", None, 1.0, 2.5, {"optikit.job.id": "j"})


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, "http://a"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/x",
            },
            "http://b/x",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_the_standard_variables_say_where_to(said: dict[str, str], found: str | None) -> None:
    assert endpoint(said) == found


def test_another_protocol_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(BadInput, match=r"'grpc'.*4318"):
        send(trace_id_of("j"), [SPAN], "1")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hush-hush@there/x?key=1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(OptikitError, match=r"http://there/x need .*optikit\[telemetry\]") as error:
        send(trace_id_of("j"), [SPAN], "1")
    assert "hush" not in str(error.value)
