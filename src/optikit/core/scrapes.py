"""Scrapes of a server as lines of a file, and back; the figures that follow from them. Pure.

The first line says what the file is and what the families are; each other one is a scrape, with the
series that changed since the scrape before it. Every figure follows from the file alone.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optikit.errors import ArchiveError
from optikit.spec.engine_metrics import EngineMetrics, ProbeMetrics

__all__ = ["FILE", "MOST_BYTES", "Client", "Scrape", "Scrapes", "metrics_of", "packed", "unpacked"]

FILE = "engine-metrics.jsonl.gz"
FORMAT = "optikit engine metrics"
VERSION = 1
MOST_BYTES = 1 << 20
"""Of a trial's file; where it would be larger, every second scrape within probes goes."""
_MOST_UNPACKED = 256 << 20
OFF_BY = 0.02
"""Share that the engine's count of tokens may differ from the client's without a word."""
_OFF_BY_TOKENS = 64

# The first that is there. vLLM before 0.10 said gpu_ for the cache; its v0 engine had both.
_RUNNING = ("vllm:num_requests_running",)
_WAITING = ("vllm:num_requests_waiting",)
_CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_PREEMPTED = ("vllm:num_preemptions_total", "vllm:num_preemptions")
_PROMPT = ("vllm:prompt_tokens_total",)
_GENERATED = ("vllm:generation_tokens_total",)
_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
_FINISHED = ("vllm:request_success_total",)
_GIVEN_UP = 'finished_reason="abort"'
_TOLD = {
    "running requests": _RUNNING,
    "waiting requests": _WAITING,
    "KV cache usage": _CACHE,
    "generated tokens": _GENERATED,
}


@dataclass(frozen=True)
class Client:
    """What the client saw of a probe, all its requests."""

    requests: int
    """Answered whole."""
    prompt_tokens: int
    generation_tokens: int
    open_tokens: int = 0
    """Generated at most for requests that were sent and not answered whole."""


@dataclass(frozen=True)
class Scrape:
    """One answer, or that there was none."""

    at_s: float
    """Since the epoch, whole milliseconds: so it is kept."""
    probe: int
    when: str
    """before, during or after the probe's requests."""
    values: Mapping[str, float] = field(default_factory=dict)
    """By series."""
    took_s: float = 0.0
    error: str | None = None
    client: Client | None = None
    """Of the probe, at its last scrape."""


@dataclass(frozen=True)
class Scrapes:
    """What a trial keeps."""

    families: Mapping[str, Sequence[str]]
    """Name to type and help, as the engine says."""
    scrapes: Sequence[Scrape]


# -- the file


def packed(kept: Scrapes) -> tuple[bytes, Scrapes]:
    """The file, and what of the scrapes is in it: within probes as many as fit into 1 MiB."""
    while True:
        data = _zipped(kept)
        during = [n for n, scrape in enumerate(kept.scrapes) if scrape.when == "during"]
        if len(data) <= MOST_BYTES or not during:
            return data, kept
        gone = set(during[::2])
        left = [scrape for n, scrape in enumerate(kept.scrapes) if n not in gone]
        kept = Scrapes(kept.families, left)


def _zipped(kept: Scrapes) -> bytes:
    head = {"format": FORMAT, "version": VERSION, "families": dict(kept.families)}
    lines = [json.dumps(head, sort_keys=True)]
    before: Mapping[str, float] = {}
    for scrape in kept.scrapes:
        line: dict[str, Any] = {"t": round(scrape.at_s, 3), "probe": scrape.probe}
        line |= {"when": scrape.when, "took_s": round(scrape.took_s, 4)}
        if scrape.error is not None:
            line["error"] = scrape.error
        else:
            now = scrape.values
            line["values"] = {k: _short(v) for k, v in now.items() if before.get(k) != v}
            if gone := [name for name in before if name not in now]:
                line["gone"] = gone
            before = now
        if scrape.client is not None:
            line["client"] = vars(scrape.client)
        lines.append(json.dumps(line))
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def unpacked(data: bytes, where: str) -> Scrapes:
    """What :func:`packed` wrote.

    Args:
        where: for the message.

    Raises:
        ArchiveError: it is something else, or damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(_MOST_UNPACKED)
        head, *lines = (json.loads(line) for line in text.decode().splitlines())
        if head["format"] != FORMAT or head["version"] != VERSION:
            raise ArchiveError(f"{where} is no file of engine metrics that is known here")
        return Scrapes(head["families"], list(_scrapes(lines)))
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError) as e:
        told = f"{type(e).__name__}: {e}"[:120]
        raise ArchiveError(f"{where} cannot be read: {told}") from None


def _scrapes(lines: Iterable[Mapping[str, Any]]) -> Iterable[Scrape]:
    values: dict[str, float] = {}
    for line in lines:
        if "error" not in line:
            changed = {str(name): float(value) for name, value in line["values"].items()}
            gone = set(line.get("gone", ()))
            values = {k: v for k, v in (values | changed).items() if k not in gone}
        yield Scrape(
            at_s=float(line["t"]),
            probe=int(line["probe"]),
            when=str(line["when"]),
            values={} if "error" in line else values,
            took_s=float(line["took_s"]),
            error=line.get("error"),
            client=Client(**line["client"]) if "client" in line else None,
        )


# -- the figures


def metrics_of(kept: Scrapes, digest: str) -> EngineMetrics:
    """Figures of a trial and of each of its probes.

    Args:
        digest: of the file.
    """
    by_probe: dict[int, list[Scrape]] = {}
    for scrape in kept.scrapes:
        by_probe.setdefault(scrape.probe, []).append(scrape)
    found = [_probe(number, seen) for number, seen in sorted(by_probe.items())]
    probes = [probe for probe, _, _ in found]
    hits, queries = (_sum(cache[n] for _, _, cache in found) for n in (0, 1))
    failed = [scrape for scrape in kept.scrapes if scrape.error is not None]
    compared = [p for p in probes if p.difference is not None]
    theirs = sum(p.generation_tokens or 0 for p in compared)
    mine = sum(p.client_generation_tokens for p in compared)
    return EngineMetrics(
        file=FILE,
        digest=digest,
        scrapes=len(kept.scrapes) - len(failed),
        failed=len(failed),
        prompt_tokens_per_s=_most(p.prompt_tokens_per_s for p in probes),
        generation_tokens_per_s=_most(p.generation_tokens_per_s for p in probes),
        kv_cache_peak=_most(p.kv_cache_peak for p in probes),
        running_peak=_whole(_most(p.running_peak for p in probes)),
        waiting_peak=_whole(_most(p.waiting_peak for p in probes)),
        preemptions=_whole(_sum(p.preemptions for p in probes)),
        prefix_cache_hit_rate=_share(hits, queries),
        difference=theirs / mine - 1 if mine else None,
        notes=(*_missing(kept.scrapes), *_errors(failed), *(n for _, ns, _ in found for n in ns)),
        probes=tuple(probes),
    )


_Cache = tuple[float | None, float | None]


def _probe(number: int, seen: Sequence[Scrape]) -> tuple[ProbeMetrics, list[str], _Cache]:
    client = next((s.client for s in reversed(seen) if s.client is not None), Client(0, 0, 0))
    good = [scrape for scrape in seen if scrape.error is None]
    notes: list[str] = []

    def grown(names: Sequence[str], without: str | None = None) -> float | None:
        """How much a counter grew; None: not told, or it began anew."""
        whole = good and (good[0].when, good[-1].when) == ("before", "after")
        ends = [_total(s.values, names, without) for s in (good[0], good[-1])] if whole else [None]
        if None in ends:
            return None
        first, last = (value or 0.0 for value in ends)
        if last < first:
            notes.append(f"probe {number}: {names[0]} went back from {first:g} to {last:g}")
            return None
        return last - first

    seconds = good[-1].at_s - good[0].at_s if len(good) > 1 else 0.0
    prompt, generated = grown(_PROMPT), grown(_GENERATED)
    hits, queries = grown(_HITS), grown(_QUERIES)
    difference = None
    if generated is not None and client.generation_tokens:
        difference = generated / client.generation_tokens - 1
    if generated is not None:
        notes += _mismatch(number, generated, client)

    def rate(tokens: float | None) -> float | None:
        return None if tokens is None or seconds <= 0 else tokens / seconds

    found = ProbeMetrics(
        probe=number,
        seconds=round(seconds, 3),
        requests=_whole(grown(_FINISHED, _GIVEN_UP)),
        prompt_tokens=_whole(prompt),
        generation_tokens=_whole(generated),
        prompt_tokens_per_s=rate(prompt),
        generation_tokens_per_s=rate(generated),
        kv_cache_peak=_most(_largest(s.values, _CACHE) for s in good),
        running_peak=_whole(_most(_total(s.values, _RUNNING) for s in good)),
        waiting_peak=_whole(_most(_total(s.values, _WAITING) for s in good)),
        preemptions=_whole(grown(_PREEMPTED)),
        prefix_cache_hit_rate=_share(hits, queries),
        client_requests=client.requests,
        client_prompt_tokens=client.prompt_tokens,
        client_generation_tokens=client.generation_tokens,
        difference=difference,
    )
    return found, notes, (hits, queries)


def _mismatch(number: int, generated: float, client: Client) -> list[str]:
    """A word where the engine's tokens are not those of the client's requests."""
    least, most = client.generation_tokens, client.generation_tokens + client.open_tokens
    slack = max(_OFF_BY_TOKENS, OFF_BY * most)
    if least - slack <= generated <= most + slack:
        return []
    range_ = f"{least}" if least == most else f"{least} to {most}"
    return [
        f"probe {number}: the engine counts {generated:.0f} generated tokens, the client {range_}: "
        "somebody else used the server, or one of them counts otherwise"
    ]


def _missing(scrapes: Sequence[Scrape]) -> list[str]:
    last = next((s.values for s in reversed(scrapes) if s.error is None), None)
    if last is None:
        return []
    gone = [what for what, names in _TOLD.items() if _total(last, names) is None]
    return [f"the engine does not tell: {', '.join(gone)}"] if gone else []


def _errors(failed: Sequence[Scrape]) -> list[str]:
    return [f"{len(failed)} scrapes failed, the first: {failed[0].error}"] if failed else []


def _series(
    values: Mapping[str, float], names: Sequence[str], without: str | None = None
) -> list[float] | None:
    """Values of every series of the first name that is there: one a replica, and by label."""
    for name in names:
        found = [
            (series, value)
            for series, value in values.items()
            if series == name or series.startswith(f"{name}{{")
        ]
        if found:
            return [value for series, value in found if without is None or without not in series]
    return None


def _total(
    values: Mapping[str, float], names: Sequence[str], without: str | None = None
) -> float | None:
    found = _series(values, names, without)
    return None if found is None else math.fsum(found)


def _largest(values: Mapping[str, float], names: Sequence[str]) -> float | None:
    return max(_series(values, names) or (), default=None)


def _sum(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return math.fsum(found) if found else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
