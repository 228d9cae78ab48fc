"""A job's report, from a journal that the test wrote: what it says, and that it loads nothing."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive
from optikit.reports import _plot_draw as draw
from optikit.reports.page import Page, page_of
from optikit.reports.render import as_html, as_json, as_markdown
from optikit.spec.queue import Need
from tests.specs import small_plan

LOADING = {"src", "href", "srcset", "action", "data", "poster", "background"}


def rate(rps: float | None, **more: Any) -> dict[str, Any]:
    return {
        "outcome": "pass" if rps else "infeasible",
        "rate_rps": rps,
        "preliminary": True,
        "reason": f"{rps} held",
        "method": "doubling",
        "requests": 60,
        **more,
    }


def trial(name: str, rps: float | None = 2.0, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "number": 0,
        "purpose": "tune",
        "variant": "baseline",
        "state": "complete",
        "model_digest": "d",
        "serving": {"max_model_len": 64},
        "rate": rate(rps),
        "startup_s": 30.0,
        "measuring_s": 60.0,
        "teardown_s": 10.0,
        **more,
    }


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobArchive:
    """A tuned job whose message and error hold what would be markup; no figures are drawn."""
    monkeypatch.setattr(draw, "available", lambda: False)
    made = JobArchive.create(tmp_path, small_plan(), {"hardware": {"cpu": "x86"}, "python": "3"})
    made.event("state", state="running", pid=1)
    for stage in ("fetch", "tune"):
        made.event("stage", stage=stage, state="done", seconds=12.0)
    default = trial("b0", 2.0, purpose="benchmark")
    for one in (default, trial("t0", 3.0, predicted_rps=4.0), trial("t1", None, state="pruned")):
        made.event("trial", trial=one)
    failure: dict[str, Any] = {
        "rate": None,
        "state": "failed",
        "error": "a | b <script>",
        "cause": "crash",
    }
    made.event("trial", trial=trial("t2", **failure))
    made.event("teardown", stage="tune", workers_s=1.0, swept_s=0.5, returned_s=0.5, left=[])
    need = Need(key=f"{made.job_id}/tune-1", team="a", kind="cpu", devices=1, since_s=0.0)
    made.event("stage_asked", key=need.key, need=need.model_dump(mode="json"))
    made.event("stage_granted", key=need.key, node="n")
    said = "<script>alert(1)</script> & more"
    made.event("state", state="done", exit_code=0, message=said, verdict="pass")
    return made


def section(page: Page, name: str) -> dict[str, dict[str, str]]:
    """The rows of a section's first table by their first cell."""
    found = next(one for one in page.sections if one.name == name)
    table = found.tables[0]
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_the_verdict_is_first_and_every_part_is_there(archive: JobArchive) -> None:
    page = page_of(archive)
    assert (page.verdict, page.tone, page.simulated) == ("pass", "good", False)
    assert [one.name for one in page.sections] == [
        "corners",
        "rate",
        "tuning",
        "left-out",
        "hours",
        "environment",
        "archive",
    ]
    assert section(page, "corners")["Tuning only"]["rate req/s"] == "3"
    assert section(page, "tuning")["t0"]["predicted"] == "4"
    assert section(page, "left-out")["t2"]["cause"] == "crash"


def test_where_the_hours_went(archive: JobArchive) -> None:
    """Three trials of 100 s that start for 30 and measure for 60; the default's is benchmark's."""
    rows = section(page_of(archive), "hours")
    assert list(rows) == ["fetch", "tune"]
    tune = rows["tune"]
    assert tune["device-hours"] == f"{300 / 3600:.3g}"
    assert (tune["of these starting"], tune["measuring"]) == ("30%", "60%")
    assert tune["teardown"] == "2.0 s"
    assert rows["fetch"]["device-hours"] == "-"


def test_what_the_engine_of_the_shipped_trial_said(archive: JobArchive) -> None:
    assert "engine" not in [one.name for one in page_of(archive).sections]
    one = {"probe": 2, "seconds": 10.0, "requests": 40, "client_requests": 41}
    one |= {"generation_tokens_per_s": 16.0, "difference": -0.024, "kv_cache_peak": 0.375}
    said = {"file": "f", "digest": "sha256:0", "scrapes": 4, "failed": 1, "notes": ["odd"]}
    archive.event("trial", trial=trial("t9", 5.0, engine_metrics={**said, "probes": [one]}))
    page = page_of(archive)
    (row,) = section(page, "engine").values()
    assert (row["requests"], row["client's"], row["generated tokens/s"]) == ("40", "41", "16")
    assert (row["against the client"], row["KV cache, most"]) == ("-2.4%", "37.5%")
    assert row["preemptions"] == "-", "not told"
    text = next(part for part in page.sections if part.name == "engine").text
    assert text[0].startswith("Trial t9, by its engine's own metrics: 4 scrapes, 1 failed")
    assert text[1] == "odd"


class Loads(HTMLParser):
    """Everything that a page would fetch, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in LOADING]


def test_the_page_loads_nothing_and_runs_nothing(archive: JobArchive) -> None:
    pytest.importorskip("jinja2")
    html = as_html(page_of(archive))
    seen = Loads()
    seen.feed(html)
    assert all(address.startswith(("#", "data:image/svg+xml")) for address in seen.fetched)
    assert "script" not in seen.tags
    assert "@import" not in html
    assert "url(" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_figures_are_inside(archive: JobArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    monkeypatch.undo()
    html = as_html(page_of(archive))
    assert html.count("<img ") == html.count('src="data:image/svg+xml;base64,') >= 3
    assert html.count('alt="') == html.count("<img ")


def test_markdown_takes_no_markup_from_a_job(archive: JobArchive) -> None:
    pytest.importorskip("jinja2")
    text = as_markdown(page_of(archive))
    assert "<script>" not in text
    assert r"a \| b &lt;script>" in text
    assert "## Where the hours went" in text


def test_json_holds_the_same(archive: JobArchive) -> None:
    page = page_of(archive)
    data = json.loads(as_json(page))
    assert data["verdict"] == "pass"
    assert [one["title"] for one in data["sections"]] == [one.title for one in page.sections]


def test_a_job_that_only_began_has_a_page(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    archive = JobArchive.create(tmp_path, small_plan(), {})
    page = page_of(archive)
    assert (page.verdict, page.tone) == ("starting", "unclear")
    assert "<h2" in as_html(page)
