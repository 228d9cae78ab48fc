"""Reads what a server says of itself around every probe of a trial, and keeps it with the trial."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from optikit.adapters.prometheus_client_read import NoMetrics, families_and_values
from optikit.adapters.scrape import EVERY_S, Raw, Scraper
from optikit.core.load import Load
from optikit.core.redact import Redactor, secrets_in
from optikit.core.scrapes import FILE, Client, Scrape, Scrapes, metrics_of, packed
from optikit.core.timings import Timings
from optikit.journal import patiently, write_bytes
from optikit.loadgen.base import LoadGenerator
from optikit.spec.endpoint import Endpoint
from optikit.spec.engine_metrics import EngineMetrics

__all__ = ["Scraped"]


class Scraped:
    """A load generator that also reads the server's metrics: before, during and after each run.

    Where the endpoint has none, it is that generator and nothing else.
    """

    def __init__(
        self, generator: LoadGenerator, endpoint: Endpoint, every_s: float = EVERY_S
    ) -> None:
        self._generator = generator
        self.name = generator.name
        self.clock = generator.clock
        self._scraper = None
        if endpoint.metrics_url is not None:
            ours = endpoint.metrics_url.startswith(f"{endpoint.base_url}/")
            key = endpoint.api_key if ours else None  # it is for no other server
            self._scraper = Scraper(endpoint.metrics_url, key, every_s)
        self._last: tuple[list[Raw], Client] | None = None
        self._families: dict[str, list[str]] = {}
        self._scrapes: list[Scrape] = []

    def run(self, endpoint: Endpoint, load: Load, **options: Any) -> Timings:
        """See :class:`optikit.loadgen.base.LoadGenerator`."""
        scraper = self._scraper
        if scraper is None or scraper.over:
            self._last = None
            return self._generator.run(endpoint, load, **options)
        during: list[Raw] = []
        before = scraper.read("before")
        with scraper.watching(during):
            timings = self._generator.run(endpoint, load, **options)
        after = scraper.read("after")
        whole = [raw for raw in (before, *during, after) if raw is not None]
        self._last = whole, _client(timings, load)
        return timings

    def keep(self, probe: int) -> None:
        """The last run was this probe; what no probe claims (warming, settling) is dropped."""
        if self._last is None:
            return
        (raws, client), self._last = self._last, None
        for number, raw in enumerate(raws):
            mine = client if number == len(raws) - 1 else None
            self._scrapes.append(self._understood(raw, probe, mine))

    def _understood(self, raw: Raw, probe: int, client: Client | None) -> Scrape:
        values: dict[str, float] = {}
        error = raw.error
        if error is None:
            try:
                text = _without_secrets(raw.text.decode(errors="replace"))
                families, values = families_and_values(text)
                self._families |= families
            except NoMetrics as fault:
                error = str(fault)
        at_s, took_s = round(raw.at_s, 3), round(raw.took_s, 4)  # as they are kept
        return Scrape(at_s, probe, raw.when, values, took_s, error, client)

    def write(self, folder: Path) -> EngineMetrics | None:
        """Keep it beside the trial's raw files; None: there is nothing to keep.

        Raises:
            DiskFull, ArchiveError: the disk stayed full, or read-only.
        """
        if not self._scrapes:
            return None
        data, kept = packed(Scrapes(self._families, self._scrapes))
        path = folder / FILE
        patiently(partial(write_bytes, path, data), f"write {path}")
        return metrics_of(kept, f"sha256:{hashlib.sha256(data).hexdigest()}")


def _client(timings: Timings, load: Load) -> Client:
    ok = timings.ok
    sent = np.isfinite(timings.sent_s) & ~ok
    return Client(
        requests=int(ok.sum()),
        prompt_tokens=int(timings.prompt_tokens[ok].sum()),
        generation_tokens=int(timings.output_tokens[ok].sum()),
        open_tokens=int(load.output_tokens[sent].sum()),
    )


def _without_secrets(text: str) -> str:
    return Redactor(secrets_in(os.environ)).text(text)
