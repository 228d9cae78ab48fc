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
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from starlette.testclient import TestClient

from optikit.service.rest import application
from tests.service_case import SPEC, Service

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

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


def test_no_request_is_a_5xx_or_shows_another_teams(service: Service) -> None:
    """Requests that the description allows, and requests that it does not."""
    api = schemathesis.openapi.from_asgi("/openapi.json", application(service.desk))
    asked = 0
    for found in api.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
                _ask(service, strategy)
            except Unsatisfiable:  # nothing can be wrong with a request that has no parts
                assert mode is GenerationMode.NEGATIVE
            else:
                asked += 1
    assert asked >= 20


def _ask(service: Service, strategy: st.SearchStrategy[schemathesis.Case[Any]]) -> None:
    mine, theirs = (sorted(service.database.ids(team))[0] for team in "ba")

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def ask(case: schemathesis.Case[Any]) -> None:
        has_id = "job_id" in (case.path_parameters or {})
        for job in (None, mine, theirs) if has_id else (None,):
            if job is not None:
                case.path_parameters["job_id"] = job
            answer = case.call(headers={"Authorization": f"Bearer {service.tokens['b']}"})
            assert answer.status_code < 500, answer.text
            assert MARK not in answer.text
            assert str(service.home) not in answer.text
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"kind", "message"}
            if job == theirs:  # 401 where the fuzzer took the token away
                assert answer.status_code in (401, 404, 405, 422)

    ask()


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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
