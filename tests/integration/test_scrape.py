"""Metrics read over HTTP while something else runs: from a server that answers as the test says."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from optikit.adapters import scrape
from optikit.adapters.scrape import Raw, Scraper

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

TEXT = b"# TYPE a gauge\na 1\n"


class Told:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = TEXT
        self.pause_s = 0.0
        self.url = ""
        self.asked: list[tuple[str, str | None]] = []


@contextmanager
def metrics_server() -> Iterator[Told]:
    told = Told()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers.get("Authorization")))
            time.sleep(told.pause_s)
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/metrics?a=b"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def told() -> Iterator[Told]:
    with metrics_server() as found:
        yield found


def test_the_text_comes_with_its_time_and_the_key_goes_along(told: Told) -> None:
    began = time.time()
    raw = Scraper(told.url, "k3y").read("before")
    assert raw is not None
    assert (raw.text, raw.error, raw.when) == (TEXT, None, "before")
    assert began - 0.1 <= raw.at_s <= time.time()
    assert 0 < raw.took_s < 5
    Scraper(told.url, None).read("after")
    assert told.asked == [("/metrics?a=b", "Bearer k3y"), ("/metrics?a=b", None)]


@pytest.mark.parametrize("how", ["status", "size", "silence", "nobody"])
def test_after_three_failures_it_is_given_up(
    told: Told, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(scrape, "_MOST_BYTES", 1000)
    told.status = 404 if how == "status" else 200
    told.body = b"x" * 2000 if how == "size" else TEXT
    told.pause_s = 1.0 if how == "silence" else 0.0
    url = "http://127.0.0.1:9/metrics" if how == "nobody" else told.url
    scraper = Scraper(url, None)
    for _ in range(3):
        assert not scraper.over
        raw = scraper.read("during")
        assert raw is not None
        assert raw.error
        assert raw.text == b""
        assert raw.took_s < 1.0
    assert scraper.over
    assert scraper.read("during") is None
    assert len(told.asked) == (0 if how == "nobody" else 3)


def test_an_answer_in_between_starts_the_count_again(told: Told) -> None:
    scraper = Scraper(told.url, None)
    for status in (500, 500, 200, 500, 500):
        told.status = status
        scraper.read("during")
    assert not scraper.over


def test_it_is_read_every_so_often_while_a_block_runs_and_no_longer(told: Told) -> None:
    found: list[Raw] = []
    with Scraper(told.url, None, every_s=0.2).watching(found):
        time.sleep(1.3)
    count = len(found)
    assert 3 <= count <= 8
    assert {raw.when for raw in found} == {"during"}
    time.sleep(0.5)
    assert len(found) == len(told.asked) == count


def test_a_long_block_is_read_less_often(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "MOST_DURING", 6)
    found: list[Raw] = []
    with Scraper(told.url, None, every_s=0.05).watching(found):
        time.sleep(1.5)
    assert len(found) < 6
    gaps = [late.at_s - early.at_s for early, late in itertools.pairwise(found)]
    assert max(gaps) > 0.15, "from 20 a second to less than 7"
