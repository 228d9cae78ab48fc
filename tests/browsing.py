"""A browser of the service's pages without its JavaScript: requests, cookies, tags. No port."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from starlette.testclient import TestClient

from optikit.service.rest import application
from tests.service_case import Service

ORIGIN = "http://optikit.example:8470"
FORM = {"Sec-Fetch-Site": "same-origin"}


def browser(service: Service, https: bool = False) -> TestClient:
    origin = ORIGIN.replace("http:", "https:") if https else ORIGIN
    app = application(service.desk, https=https)
    return TestClient(app, base_url=origin, follow_redirects=False, raise_server_exceptions=False)


def sign_in(client: TestClient, token: str, **more: str) -> Any:
    return client.post("/sign-in", data={"token": token, **more}, headers=FORM)


class Tags(HTMLParser):
    """Tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def page(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text
