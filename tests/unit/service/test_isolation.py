"""Two teams see nothing of each other, by any route of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from optikit.service import reading
from optikit.service.rest import application
from tests.service_case import SPEC, Service

MARK = "only-a-knows-this"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Team a has a waiting and a failed job, with a mark in every place; team b has nothing."""
    made = Service(tmp_path_factory.mktemp("service"))
    for _ in range(2):
        entry = made.submit("a", key=MARK, model={"name": "qwen-2.5-7b", "version": MARK})
        entry = made.submit("a", model={"name": "qwen-2.5-7b", "version": MARK})
        archive = reading.archive_of(entry)
        archive.event("note", text=MARK)
        archive.driver_log.write_text(MARK)
        (archive.folder("trials", MARK) / "engine.log").write_text(MARK)
        archive.event("state", state="failed", exit_code=1, message=MARK)
        made.database.set_state(entry.id, "ended")
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(application(service.desk))


def routes(client: TestClient) -> list[tuple[str, str]]:
    """(method, path) of everything in the API's own description."""
    paths: dict[str, dict[str, Any]] = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def ask(client: TestClient, token: str | None, method: str, path: str, **query: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"spec": SPEC} if method == "POST" else None
    return client.request(method, path, params=query, headers=headers, json=body)


def test_every_route_of_a_job_is_404_for_another_team(client: TestClient, service: Service) -> None:
    """The same answer, word for word, as for a job that nobody has."""
    asked = [route for route in routes(client) if "{" in route[1]]
    assert len(asked) >= 7
    before = {row.id: row for row in service.database.live()}
    for job in service.database.ids("a"):
        nobodys = job[:-1] + ("0" if job[-1] != "0" else "1")
        for method, path in asked:
            answer = ask(client, service.tokens["b"], method, path.format(job_id=job))
            none = ask(client, service.tokens["b"], method, path.format(job_id=nobodys))
            assert (answer.status_code, none.status_code) == (404, 404), path
            assert answer.text.replace(job, "ID") == none.text.replace(nobodys, "ID")
            own = ask(client, service.tokens["a"], "GET", f"/v1/jobs/{job}")
            assert own.status_code == 200
    assert {row.id: row for row in service.database.live()} == before


def test_every_route_but_health_asks_for_a_token(client: TestClient, service: Service) -> None:
    job = sorted(service.database.ids("a"))[0]
    for method, path in routes(client):
        answer = ask(client, None, method, path.format(job_id=job))
        assert answer.status_code == (200 if path == "/healthz" else 401), path
        assert MARK not in answer.text


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_nothing_of_another_teams_is_in_any_answer(
    client: TestClient, service: Service, data: st.DataObject
) -> None:
    """Ids, beginnings of ids, trials, cursors and keys of team a, by team b's token."""
    ids = sorted(service.database.ids("a"))
    word = st.sampled_from([*ids, MARK, "last", "..", "../a", ids[0][:6], f"../a/jobs/{ids[0]}"])
    method, path = data.draw(st.sampled_from(routes(client)))
    path = path.format(job_id=data.draw(word).replace("/", "%2F"))
    query = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "before": word,
                "trial": word,
                "offset": st.integers(0, 3000),
                "length": st.integers(1, 3000),
                "limit": st.integers(1, 100),
            },
        )
    )
    answer = ask(client, service.tokens["b"], method, path, **query)
    assert answer.status_code < 500
    text = answer.text
    said = [*unquote(path).split("/"), *map(str, query.values())]
    for word_said in sorted(said, key=len, reverse=True):  # "jobs" may be a part of another
        text = text.replace(word_said, "")  # what it asked itself may be said back
    assert MARK not in text
    assert not any(job in text for job in ids)
