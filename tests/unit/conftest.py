"""Fixtures of the unit tests."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from optikit.adapters.jsonlog import FORMAT, log_as_asked
from tests.json_log import SECRET, Output


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Output]]:
    """Makes this process one that was asked for JSON, until the test ends; gives what it writes.

    Called in the test: pytest puts its own streams in place before each.
    """
    root, ours = logging.getLogger(), logging.getLogger("optikit")
    before = root.handlers, ours.level

    def made() -> Output:
        out = Output()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, out)
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr("atexit.register", lambda _: None)
        monkeypatch.setenv("RAY_DEDUP_LOGS", "1")
        monkeypatch.setenv("HF_TOKEN", SECRET)
        monkeypatch.setenv(FORMAT, "json")
        log_as_asked()
        return out

    yield made
    logging.captureWarnings(False)
    root.handlers = before[0]
    ours.setLevel(before[1])
