"""The unit is one that systemd reads, and starts what was certified."""

from __future__ import annotations

import configparser
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from optikit.errors import BadInput
from optikit.exports.base import DeploySettings
from optikit.spec.bundle import Bundle
from tests.argv import VALUES, WORDS, by_systemd, expected
from tests.bundles import bundle, render

ANALYZE = shutil.which("systemd-analyze")


def unit(served: Bundle, **asked: Any) -> tuple[dict[str, str], list[str]]:
    """The keys of ``[Service]``, and the lines of its environment."""
    text = render("systemd", served, **{"model_path": "/m", "python": "/usr/bin/env", **asked})
    lines = text.split("\n")
    inside = lines[lines.index("[Service]") + 1 : lines.index("[Install]")]
    pairs = [line.partition("=") for line in inside if line]
    assert all(found for _, found, _ in pairs), "every line is a key and a value"
    return {k: v for k, _, v in pairs}, [v for k, _, v in pairs if k == "Environment"]


@given(WORDS, VALUES)
@settings(max_examples=60)
def test_systemd_starts_the_certified_command(words: list[str], value: str) -> None:
    served = bundle(more=words, environment={"X": value})
    asked = DeploySettings(python="/opt/$x 50%/py", model_path="/a model/%h")
    service, variables = unit(served, **asked.model_dump(exclude_none=True))
    program, *rest = by_systemd(service["ExecStart"])
    assert program == ":/opt/$x 50%/py", "the colon: no variable is put in"
    assert rest == expected(served, "/a model/%h", "127.0.0.1", asked)
    assert by_systemd(variables[0]) == [f"X={value}"]


@pytest.mark.skipif(ANALYZE is None, reason="no systemd here")
@pytest.mark.parametrize("more", [[], ["a b", '{"x": "50% $HOME"}', "\\", "\n", ";", "é", "%"]])
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path, more: list[str]) -> None:
    text = render("systemd", bundle(more=more), model_path="/m %h", python=sys.executable)
    assert verified(tmp_path, text) == ""


@pytest.mark.skipif(ANALYZE is None, reason="no systemd here")
def test_systemd_would_find_what_is_wrong(tmp_path: Path) -> None:
    text = render("systemd", bundle(), model_path="/m", python=sys.executable)
    assert "Restrat" in verified(tmp_path, text.replace("Restart=", "Restrat="))
    assert verified(tmp_path, text.replace('"--host"', '"--host'))


def verified(folder: Path, text: str) -> str:
    file = folder / "mine.service"
    file.write_text(text)
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60
    )
    return "\n".join(line for line in done.stderr.splitlines() if "mine.service" in line)


def test_the_unit_has_started_once_health_answers() -> None:
    asked: list[str] = []

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if len(asked) > 1 else 503)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        service, _ = unit(bundle(), python=sys.executable, port=listening.server_port)
        words = by_systemd(service["ExecStartPost"])
        done = subprocess.run([words[0][1:], *words[1:]], timeout=60)
        listening.shutdown()
    assert done.returncode == 0
    assert asked == ["/health", "/health"]


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000/health"), ("fd00::1", "http://[fd00::1]:8000/health")],
)
def test_health_is_asked_where_the_server_listens(host: str, url: str) -> None:
    service, _ = unit(bundle(), host=host, startup_s=77)
    assert by_systemd(service["ExecStartPost"])[-1] == url
    assert service["TimeoutStartSec"] == "77"


def test_a_key_is_in_a_file_of_its_own() -> None:
    service, variables = unit(bundle(), name="mine")
    assert service["EnvironmentFile"] == "-/etc/optikit/mine.env"
    assert not any("API_KEY" in line for line in variables)


def test_an_interpreter_without_a_path_is_refused() -> None:
    with pytest.raises(BadInput, match="--python"):
        unit(bundle(), python="python3")


def test_the_certificate_is_a_section_of_its_own() -> None:
    text = render("systemd", bundle(status="negative"), model_path="/m", python="/p")
    reader = configparser.RawConfigParser(strict=False)
    reader.read_string(text)
    assert reader["X-OptiKIT"]["Status"] == "negative"
    assert reader["X-OptiKIT"]["CertificateDigest"].startswith("sha256:")
    assert text.startswith("# ")
    assert "NOT CERTIFIED" in text
