"""Reports of jobs as the service shows them: the page of ``optikit report``, kept while it holds.

Drawing figures takes seconds and knows no threads: one at a time, and those who ask for the same
page meanwhile get it, too.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from optikit.reports.page import page_of
from optikit.reports.render import as_html
from optikit.service import reading
from optikit.service.database import Entry
from optikit.service.refusals import Busy

__all__ = ["Reports"]

_KEPT = 16
_PATIENCE_S = 60.0
_WAITING = 4
"""Requests at a time, one of which draws: the others' threads are needed for other pages."""
_LATER = "other reports are being drawn; try again in a minute"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class Reports:
    """May be asked from any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, int], tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()
        self._seats = threading.BoundedSemaphore(_WAITING)

    def html(self, entry: Entry, seen: Callable[[str], str]) -> tuple[str, str]:
        """The page, and the content security policy that lets its own style in and nothing else.

        Args:
            seen: takes out of a text what the team may not read.

        Raises:
            ArchiveError: the archive is not whole, or a raw file is damaged.
            Busy: others' reports are drawn, and take long.
        """
        if not self._seats.acquire(blocking=False):
            raise Busy(_LATER)
        try:
            if not self._lock.acquire(timeout=_PATIENCE_S):
                raise Busy(_LATER)
            try:
                return self._made(entry, seen)
            finally:
                self._lock.release()
        finally:
            self._seats.release()

    def _made(self, entry: Entry, seen: Callable[[str], str]) -> tuple[str, str]:
        archive = reading.archive_of(entry)
        size = archive.journal.stat().st_size if archive.journal.exists() else 0
        key = (entry.id, entry.state, size)
        if key not in self._kept:
            html = as_html(_seen(page_of(archive), seen), back=f"/jobs/{entry.id}")
            self._kept[key] = (html, _policy(html))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _seen(part: Any, seen: Callable[[str], str]) -> Any:
    """The page with every text as the team may read it; figures stay the files that they are."""
    if isinstance(part, str):
        return seen(part)
    if isinstance(part, tuple):
        return tuple(_seen(one, seen) for one in part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: _seen(getattr(part, f.name), seen) for f in fields(part)})
    return part


def _policy(html: str) -> str:
    digests = [
        base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        for style in _STYLE.findall(html)
    ]
    styles = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src {styles}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
