"""What a trial keeps of its server's metrics, with a server that answers as the test says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from optikit.adapters.scrape import Raw
from optikit.core.load import plan_load
from optikit.core.scrapes import FILE, unpacked
from optikit.spec.endpoint import Endpoint
from optikit.spec.engine_metrics import EngineMetrics
from optikit.spec.workload import Workload
from optikit.stages import _scrape
from optikit.stages._scrape import Scraped
from tests.doubles import Queue

TEXT = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting 0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc 0.25
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total {tokens}
# TYPE vllm:request_success_total counter
vllm:request_success_total{{finished_reason="length"}} {requests}
"""
TOLD = Endpoint(base_url="http://h:1", model="m", vocab=9, metrics_url="http://h:1/metrics")
LOAD = plan_load(Workload(prompt_tokens=8, output_tokens=4), 5.0, 20, 1)


class Scraper:
    """Answers with counters that have grown by a whole run at each end of one."""

    def __init__(self, url: str, api_key: str | None, every_s: float) -> None:
        self.asked = (url, api_key)
        self.over = False
        self.error: str | None = None
        self.runs = 0
        self.secret = ""

    def read(self, when: str) -> Raw:
        self.runs += when == "after"
        count = len(LOAD) * self.runs
        text = TEXT.format(running=3, tokens=4 * count, requests=count)
        text += f'info{{name="{self.secret}"}} 1\n'
        raw = "" if self.error else text
        return Raw(100.0 + self.runs, 0.01, when, raw.encode(), self.error)

    def watching(self, found: list[Raw]) -> Scraper:
        found.append(self.read("during"))
        return self

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture
def scraped(monkeypatch: pytest.MonkeyPatch) -> Scraped:
    monkeypatch.setattr(_scrape, "Scraper", Scraper)
    return Scraped(Queue(), TOLD)


def scraper(scraped: Scraped) -> Scraper:
    assert isinstance(scraped._scraper, Scraper)
    return scraped._scraper


def kept(scraped: Scraped, folder: Path) -> EngineMetrics:
    found = scraped.write(folder)
    assert found is not None
    return found


def test_a_probe_is_kept_with_the_engines_count_of_its_requests(
    scraped: Scraped, tmp_path: Path
) -> None:
    timings = scraped.run(TOLD, LOAD)
    assert timings.ok.all(), "what the generator saw is handed on"
    scraped.keep(7)
    found = kept(scraped, tmp_path)
    (one,) = found.probes
    assert (one.probe, one.requests, one.client_requests) == (7, len(LOAD), len(LOAD))
    assert (one.generation_tokens, one.client_generation_tokens) == (4 * len(LOAD), 4 * len(LOAD))
    assert (found.difference, found.running_peak, found.kv_cache_peak) == (0.0, 3, 0.25)
    assert found.notes == ()
    data = (tmp_path / FILE).read_bytes()
    assert found.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    file = unpacked(data, FILE)
    assert [scrape.when for scrape in file.scrapes] == ["before", "during", "after"]
    assert file.families["vllm:request_success"][0] == "counter"


def test_a_run_that_no_probe_claims_is_dropped(scraped: Scraped, tmp_path: Path) -> None:
    scraped.run(TOLD, LOAD)
    scraped.run(TOLD, LOAD)
    scraped.keep(1)
    scraped.keep(2)
    found = kept(scraped, tmp_path)
    assert [one.probe for one in found.probes] == [1]
    assert found.probes[0].requests == len(LOAD)


def test_a_scrape_that_fails_is_a_note(scraped: Scraped, tmp_path: Path) -> None:
    scraper(scraped).error = "HTTP 404"
    assert scraped.run(TOLD, LOAD).ok.all()
    scraped.keep(1)
    found = kept(scraped, tmp_path)
    assert (found.scrapes, found.failed) == (0, 3)
    assert found.notes == ("3 scrapes failed, the first: HTTP 404",)
    scraper(scraped).over = True
    scraped.run(TOLD, LOAD)
    scraped.keep(2)
    assert [one.probe for one in kept(scraped, tmp_path).probes] == [1], "given up, not asked"


def test_an_answer_that_is_no_metrics_is_a_note_too(
    scraped: Scraped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scraper, "read", lambda _, when: Raw(1.0, 0.1, when, b"<html>{</html>"))
    scraped.run(TOLD, LOAD)
    scraped.keep(1)
    assert "no text of Prometheus" in kept(scraped, tmp_path).notes[-1]


def test_no_secret_of_the_environment_is_kept(
    scraped: Scraped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    scraper(scraped).secret = "hf_abcdefgh"
    scraped.run(TOLD, LOAD)
    scraped.keep(1)
    kept(scraped, tmp_path)
    series = unpacked((tmp_path / FILE).read_bytes(), FILE).scrapes[0].values
    assert 'info{name="[redacted]"}' in series


def test_an_endpoint_without_metrics_keeps_nothing(tmp_path: Path) -> None:
    nothing = TOLD.model_copy(update={"metrics_url": None})
    scraped = Scraped(Queue(), nothing)
    scraped.run(nothing, LOAD)
    scraped.keep(1)
    assert scraped.write(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://h:1/metrics", "k"),
        ("http://h:12/metrics", None),
        ("http://else:1/metrics", None),
        ("https://h:1/metrics", None),
    ],
)
def test_the_key_goes_to_the_measured_server_alone(
    url: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scrape, "Scraper", Scraper)
    endpoint = TOLD.model_copy(update={"metrics_url": url, "api_key": "k"})
    assert scraper(Scraped(Queue(), endpoint)).asked == (url, key)
