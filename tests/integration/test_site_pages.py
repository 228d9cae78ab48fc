"""The documentation site in a real browser: it asks no other host, and works alone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import build_site
from tests.browser_pages import looked_at

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(600)]
PAGES = ("index", "quickstart", "reference/cli", "reference/job-spec", "comparison")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pages_in_a_browser(tmp_path: Path) -> None:
    """$OPTIKIT_SCREENSHOTS keeps the pictures, for whoever wants to look."""
    assert build_site.build(tmp_path / "site") is None
    shots = Path(os.environ.get("OPTIKIT_SCREENSHOTS") or tmp_path / "shots")
    with served(tmp_path / "site") as address:
        urls = {f"site-{name.replace('/', '-')}": f"{address}/{name}.html" for name in PAGES}
        seen = looked_at(urls, shots)
    for name, page in seen.items():
        foreign = [url for url in page["requests"] if not url.startswith(address)]
        assert foreign == [], name
        assert page["requests"], f"{name} loads its style and script"
        assert page["errors"] == [], name
        assert page["reached"], f"nothing of {name} is reached by the keyboard"
        assert not page["sideways"], name
