"""The documentation site: built strictly, complete, and asking no other host for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts import build_site

ROOT = Path(__file__).parent.parent
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
KINDS_OF_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch"}
"""Kinds of <link> that a browser follows by itself."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    said = build_site.build(folder)
    assert said is None, said
    return folder


class Page(HTMLParser):
    """What a page loads, links to, and names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.classes: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        if "id" in found:
            self.ids.add(found["id"])
        self.classes |= set(found.get("class", "").split())
        if tag in LOADS and LOADS[tag] in found:
            self.loaded.append(found[LOADS[tag]])
        if tag == "link" and set(found.get("rel", "").split()) & KINDS_OF_LINKS:
            self.loaded.append(found["href"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])


def test_every_document_is_in_the_nav_and_nothing_else() -> None:
    named = {name for name in build_site.navigation() if not name.startswith("repository/")}
    assert named == build_site.pages()


def test_every_document_is_a_page(site: Path) -> None:
    expected = {Path(name).with_suffix(".html").as_posix() for name in build_site.pages()}
    there = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert expected <= there
    assert len(expected) > 40
    text = (site / "quickstart.html").read_text()
    assert "make demo" in text


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    foreign = []
    for path in site.rglob("*.html"):
        page = Page(path)
        foreign += [(path.name, url) for url in page.loaded if urlsplit(url).netloc]
        # the script would fetch these from a CDN for such a block, and for no other
        assert not page.classes & {"mermaid", "glightbox", "pyodide", "arithmatex"}, path
        assert '"repo_url"' not in path.read_text()  # nor ask a forge for its stars
    assert foreign == []
    for path in site.rglob("*.css"):
        assert (
            re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", path.read_text()) == []
        )


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            goal = (path.parent / parts.path).resolve() if parts.path else path
            goal = goal / "index.html" if goal.is_dir() else goal
            named = goal not in pages or not parts.fragment or parts.fragment in pages[goal].ids
            if not (goal.is_file() and named):
                broken.append((path.relative_to(site).as_posix(), link))
    assert broken == []


def test_a_file_of_the_repository_is_shown_as_it_is(site: Path) -> None:
    page = (site / "repository/examples/jobs/quickstart.yaml.html").read_text()
    assert "smollm2-135m" in page
    text = (site / "quickstart.html").read_text()
    assert 'href="./repository/examples/jobs/quickstart.yaml.html"' in text or (
        'href="repository/examples/jobs/quickstart.yaml.html"' in text
    )


@pytest.mark.parametrize(
    ("name", "text", "moved"),
    [
        ("docs/a.md", "[b](reference/cli.md#optikit-plan)", "[b](reference/cli.md#optikit-plan)"),
        ("docs/howto/a.md", "[b](../../README.md)", "[b](../repository/README.md)"),
        ("docs/a.md", "[b](../README.md#x)", "[b](repository/README.md#x)"),
        ("docs/a.md", "[b](../Makefile)", "[b](repository/Makefile.md)"),
        ("README.md", "[b](docs/concepts.md)", "[b](../concepts.md)"),
        ("docs/a.md", "[b](https://example.org/a)", "[b](https://example.org/a)"),
        ("docs/a.md", "```text\n[b](../README.md)\n```", "```text\n[b](../README.md)\n```"),
        ("docs/a.md", "[b](../nowhere.md)", "[b](../nowhere.md)"),
    ],
)
def test_links_are_moved_with_what_they_lead_to(name: str, text: str, moved: str) -> None:
    assert build_site.moved(ROOT / name, text) == moved


@pytest.mark.parametrize(
    ("line", "word"),
    [("[gone](gone.md)", "gone.md"), ("[here](concepts.md#no-such-heading)", "no-such-heading")],
)
def test_a_broken_link_fails_the_build(
    line: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Home\n\n{line}\n")
    (docs / "concepts.md").write_text("# Concepts\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\nnav: [index.md, concepts.md]\n")
    for name in build_site.ALWAYS:
        (tmp_path / name).write_text("# There\n")
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    monkeypatch.setattr(build_site, "DOCS", docs)
    monkeypatch.setattr(build_site, "CONFIG", tmp_path / "mkdocs.yml")
    said = build_site.build(tmp_path / "out")
    assert said is not None
    assert word in said
    assert not (tmp_path / "out").exists()


def test_a_page_outside_the_nav_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/lost.md").write_text("# Lost\n")
    monkeypatch.setattr(build_site, "DOCS", tmp_path / "docs")
    assert build_site.build(tmp_path / "out") == "docs/lost.md is not in the nav of mkdocs.yml"
