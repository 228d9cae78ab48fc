"""Build the documentation site: what `make docs` runs.

The documents are written for a forge's view of the repository. They are copied beside each other,
with their links to files outside ``docs/`` led to pages of the site below ``repository/`` (a
Markdown file as it is, another file as its text), and Zensical makes pages of the copy. A broken
link or anchor, or a page that the navigation lacks, ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CONFIG = ROOT / "mkdocs.yml"
OUTPUT = ROOT / "build" / "site"
ELSEWHERE = "repository"
"""Where files from outside ``docs/`` lie in the site."""
ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md")
"""They have a place in the navigation whether or not somebody links to them."""
_FENCE = re.compile(r"^(```|~~~)[^\n]*\n.*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<open>\]\()(?P<target>[^)\s#]+)(?=[#)\s])")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json"}


def main(argv: list[str] | None = None) -> int:
    """Build; the exit code."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: build/site")
    args = parser.parse_args(argv)
    said = build(args.output)
    if said is not None:
        print(f"{said}\nbuild_site: the site has the faults above", file=sys.stderr)
        return 1
    print(f"build_site: {args.output / 'index.html'}")
    return 0


def build(output: Path) -> str | None:
    """Put the site in the place of ``output``; what is wrong with the documents, None: nothing."""
    missing = sorted(pages() - navigation())
    if missing:
        return "\n".join(f"docs/{name} is not in the nav of mkdocs.yml" for name in missing)
    with tempfile.TemporaryDirectory() as folder:
        config = stage(Path(folder))
        words = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(config)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(Path(folder) / "site", output)
    return None


def pages() -> set[str]:
    """All Markdown below ``docs/``, by its path there."""
    return {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def navigation() -> set[str]:
    """The pages that the navigation names."""
    return set(_leaves(yaml.load(_config(), _Loader)["nav"]))


def _config() -> str:
    """The configuration's text, with every decision in the navigation."""
    listed = sorted(name for name in pages() if name.startswith("decisions/"))
    text = CONFIG.read_text(encoding="utf-8")
    return re.sub(r"Decisions: \[\][^\n]*", f"Decisions: [{', '.join(listed)}]", text)


class _Loader(yaml.SafeLoader):
    """YAML whose Python tags are left alone: only the navigation is read here."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def _leaves(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from _leaves(inner)


def stage(folder: Path) -> Path:
    """A copy of the documents whose links stay inside it; its configuration file."""
    source = folder / "docs"
    shutil.copytree(DOCS, source)
    wanted = [*DOCS.rglob("*.md"), *(ROOT / name for name in ALWAYS)]
    seen: set[Path] = set()
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        seen.add(path)
        text = _text(path)
        if path.suffix == ".md":
            wanted += [t for t in _targets(path, text) if not t.is_relative_to(DOCS)]
            text = moved(path, text)
        place = source / _uri(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    config = folder / CONFIG.name
    config.write_text(_config(), encoding="utf-8")
    return config


def moved(path: Path, text: str) -> str:
    """A document's text with its links as the site has their targets."""

    def one(match: re.Match[str]) -> str:
        target = _resolved(path, match["target"])
        if target is None or not target.exists():
            return match[0]  # another site; or the builder says that nothing is there
        return match["open"] + posixpath.relpath(_uri(target), posixpath.dirname(_uri(path)) or ".")

    return _outside_fences(text, lambda prose: _LINK.sub(one, prose))


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with ``change`` done to everything that is no code block."""
    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def _targets(path: Path, text: str) -> list[Path]:
    """What a document links to within the repository, as far as it exists."""
    found = (_resolved(path, m["target"]) for m in _LINK.finditer(_FENCE.sub("", text)))
    return [target for target in found if target is not None and target.exists()]


def _resolved(path: Path, target: str) -> Path | None:
    """The file behind a relative link; None: another site, or outside the repository."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    found = Path(posixpath.normpath((path.parent / target).as_posix()))
    return found if found.is_relative_to(ROOT) else None


def _uri(path: Path) -> str:
    """Where a file of the checkout lies in the copy."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = f"{ELSEWHERE}/{path.relative_to(ROOT).as_posix()}"
    return name if path.suffix == ".md" else f"{name}.md"


def _text(path: Path) -> str:
    """A page's Markdown."""
    if path.is_dir():
        inside = sorted(one.name for one in path.iterdir() if not one.name.startswith(("_", ".")))
        return f"# {path.name}\n\n" + "".join(f"- `{one}`\n" for one in inside)
    body = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return body
    fence = "`" * (3 + max((len(run) for run in re.findall(r"`{3,}", body)), default=0))
    language = _LANGUAGES.get(path.suffix, "text")
    return f"# {path.name}\n\n{fence}{language}\n{body.rstrip()}\n{fence}\n"


if __name__ == "__main__":
    sys.exit(main())
