"""The API against its own description, by schemathesis; and job specs with values nobody wrote."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from optikit.service.rest import application
from tests.service_case import SPEC, Service

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MARK = "only-a-knows-this"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Team b is asked for; team a's job carries a mark."""
    made = Service(tmp_path_factory.mktemp("service"))
    for name in ("a", "b"):
        made.submit(name, model={"name": "qwen-2.5-7b", "version": MARK if name == "a" else "1"})
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(application(service.desk), raise_server_exceptions=False)


@pytest.fixture
def api(service: Service) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", application(service.desk))


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_request_is_a_5xx_or_shows_another_teams(
    case: schemathesis.Case[Any], service: Service, client: TestClient
) -> None:
    ids = sorted(service.database.ids("a"))[:1] + sorted(service.database.ids("b"))[:1]
    asked = [None, *ids] if case.path_parameters and "job_id" in case.path_parameters else [None]
    for job in asked:
        if job is not None:
            case.path_parameters["job_id"] = job
        answer = case.call(headers={"Authorization": f"Bearer {service.tokens['b']}"})
        assert answer.status_code < 500, answer.text
        assert MARK not in answer.text
        assert str(service.home) not in answer.text
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"kind", "message"}
        if job == ids[0]:
            assert answer.status_code in (400, 404, 405, 413, 422)


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "/", "..", "/etc/passwd", "file:///etc", "x" * 5000, "\0", "1e999", "hf://a/b", "~"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
KEYS = sorted(
    [
        *("flow", "model", "dataset", "flow_params", "compute", "workload", "slo", "engine"),
        *("tuner", "method", "quality", "fallback", "budget"),
    ]
)
INNER = {
    "model": ("name", "version", "uri"),
    "dataset": ("path", "text_field", "split"),
    "flow_params": ("recipe", "num_trials", "calibration_samples", "space", "sampling"),
    "compute": ("sku", "prices"),
    "workload": ("prompt_tokens", "output_tokens", "trace", "arrivals", "prefix_tokens", "seed"),
    "engine": ("name", "flags", "port", "hold_devices", "start_timeout_s"),
    "tuner": ("name", "storage", "runner", "objective", "finalists"),
    "method": ("name", "requests_per_probe", "max_probes"),
    "quality": ("tasks", "margin", "limit"),
    "budget": ("wall_time_s", "gpu_hours"),
}


@st.composite
def specs(draw: st.DrawFn) -> Any:
    """A valid spec with one to three of its values replaced."""
    spec: dict[str, Any] = copy.deepcopy(SPEC)
    spec["flow"] = draw(st.sampled_from(["benchmark", "tune", "quantize", "quantize_and_tune"]))
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(KEYS))
        if key in INNER and draw(st.booleans()):
            part = spec.get(key)
            inner = dict(part) if isinstance(part, dict) else {}
            inner[draw(st.sampled_from(INNER[key]))] = draw(ANY)
            spec[key] = inner
        else:
            spec[key] = draw(ANY)
    return spec


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs())
def test_any_spec_is_planned_or_refused_with_its_reason(
    client: TestClient, service: Service, spec: Any
) -> None:
    answer = client.post(
        "/v1/plan",
        content=json.dumps({"spec": spec}),
        headers={
            "Authorization": f"Bearer {service.tokens['b']}",
            "Content-Type": "application/json",
        },
    )
    assert answer.status_code in (200, 400, 413, 422), answer.text
    assert str(service.home) not in answer.text
    assert str(Path.cwd()) not in answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]
