"""Scrapes of a server: the file and back, and what follows from them."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from optikit.core import scrapes
from optikit.core.scrapes import Client, Scrape, Scrapes, metrics_of, packed, unpacked
from optikit.errors import ArchiveError
from optikit.spec.engine_metrics import EngineMetrics

FAMILIES = {"vllm:num_requests_running": ["gauge", "Number of requests."]}


def series(**told: float) -> dict[str, float]:
    """``running`` and so on as vLLM 0.32 spells them, of one replica."""
    names = {
        "running": 'vllm:num_requests_running{engine="0"}',
        "waiting": 'vllm:num_requests_waiting{engine="0"}',
        "cache": 'vllm:kv_cache_usage_perc{engine="0"}',
        "preempted": 'vllm:num_preemptions_total{engine="0"}',
        "prompt": 'vllm:prompt_tokens_total{engine="0"}',
        "generated": 'vllm:generation_tokens_total{engine="0"}',
        "hits": 'vllm:prefix_cache_hits_total{engine="0"}',
        "queries": 'vllm:prefix_cache_queries_total{engine="0"}',
        "length": 'vllm:request_success_total{engine="0",finished_reason="length"}',
        "stop": 'vllm:request_success_total{engine="0",finished_reason="stop"}',
        "abort": 'vllm:request_success_total{engine="0",finished_reason="abort"}',
    }
    return {names[name]: value for name, value in told.items()}


FIRST = {
    "running": 0.0, "waiting": 0.0, "cache": 0.0, "preempted": 1.0, "prompt": 8.0, "generated": 4.0,
    "hits": 0.0, "queries": 8.0, "length": 1.0, "stop": 0.0, "abort": 0.0,
}  # fmt: skip


def probe(number: int = 1, client: Client | None = None, **last: float) -> list[Scrape]:
    """Before, in the middle, after; 10 s."""
    end = FIRST | {
        **{"preempted": 3.0, "prompt": 648.0, "generated": 164.0, "hits": 128.0, "queries": 648.0},
        **{"length": 40.0, "stop": 1.0, "abort": 2.0},
        **last,
    }
    middle = FIRST | {"running": 16.0, "waiting": 5.0, "cache": 0.375}
    begun = 1000.0 * number
    return [
        Scrape(begun, number, "before", series(**FIRST), 0.01),
        Scrape(begun + 5, number, "during", series(**middle), 0.02),
        Scrape(
            begun + 10, number, "after", series(**end), 0.01, client=client or Client(40, 640, 160)
        ),
    ]


def told(*seen: Scrape) -> EngineMetrics:
    return metrics_of(Scrapes(FAMILIES, seen), "sha256:0")


def test_the_figures_of_a_probe() -> None:
    found = told(*probe())
    (one,) = found.probes
    assert (one.seconds, one.requests, one.client_requests) == (10.0, 40, 40)
    assert (one.prompt_tokens, one.generation_tokens) == (640, 160)
    assert (one.prompt_tokens_per_s, one.generation_tokens_per_s) == (64.0, 16.0)
    assert (one.kv_cache_peak, one.running_peak, one.waiting_peak) == (0.375, 16, 5)
    assert (one.preemptions, one.prefix_cache_hit_rate) == (2, 0.2)
    assert one.difference == 0.0
    assert (found.scrapes, found.failed, found.notes) == (3, 0, ())


def test_a_trial_has_the_peaks_and_the_sums_of_its_probes() -> None:
    slow = [replace(s, at_s=s.at_s + 30 * n) for n, s in enumerate(probe(2))]
    found = told(*probe(1), *slow)
    assert found.generation_tokens_per_s == 16.0, "of the better probe"
    assert found.probes[1].generation_tokens_per_s == pytest.approx(160 / 70)
    assert (found.preemptions, found.running_peak, found.kv_cache_peak) == (4, 16, 0.375)
    assert found.prefix_cache_hit_rate == 0.2
    assert found.difference == 0.0


def test_replicas_add_up_and_of_the_cache_the_fullest_counts() -> None:
    def both(one: Scrape) -> Scrape:
        second = {name.replace('"0"', '"1"'): value for name, value in one.values.items()}
        second['vllm:kv_cache_usage_perc{engine="1"}'] = 0.5
        return replace(one, values={**one.values, **second})

    (found,) = told(*map(both, probe(client=Client(80, 1280, 320)))).probes
    assert (found.requests, found.generation_tokens, found.running_peak) == (80, 320, 32)
    assert found.kv_cache_peak == 0.5


def test_names_of_an_older_vllm_are_found() -> None:
    old = {
        "vllm:kv_cache_usage_perc": "vllm:gpu_cache_usage_perc",
        "vllm:prefix_cache": "vllm:gpu_prefix_cache",
    }

    def named(one: Scrape) -> Scrape:
        values = dict(one.values)
        for new, name in old.items():
            values = {key.replace(new, name): value for key, value in values.items()}
        return replace(one, values=values)

    assert told(*map(named, probe())).model_copy(update={"digest": ""}) == told(
        *probe()
    ).model_copy(update={"digest": ""})


@pytest.mark.parametrize(
    ("client", "noted"),
    [
        (Client(40, 640, 160), False),
        (Client(40, 640, 120, open_tokens=60), False),  # given up by the client in the middle
        (Client(20, 320, 80, open_tokens=0), True),  # somebody else had tokens too
        (Client(400, 6400, 1600), True),
    ],
)
def test_tokens_that_are_not_the_clients_are_noted(client: Client, noted: bool) -> None:
    found = told(*probe(client=client))
    assert bool(found.notes) is noted, found.notes
    (one,) = found.probes
    assert one.difference == 160 / client.generation_tokens - 1, "shown in any case"


def test_a_counter_that_went_back_is_a_note_and_no_figure() -> None:
    found = told(*probe(generated=1.0))
    assert found.probes[0].generation_tokens is None
    assert found.difference is None
    assert any("went back from 4 to 1" in note for note in found.notes)


def test_an_engine_that_tells_nothing_of_the_sort_says_so() -> None:
    bare = [replace(scrape, values={"python_info": 1.0}) for scrape in probe()]
    found = told(*bare)
    assert found.probes[0].generation_tokens is None
    assert found.running_peak is None
    assert found.notes == (
        "the engine does not tell: running requests, waiting requests, KV cache usage, "
        "generated tokens",
    )


def test_failed_scrapes_are_counted_and_without_an_end_nothing_is_compared() -> None:
    before, during, after = probe()
    lost = replace(after, values={}, error="timed out")
    found = told(before, during, lost)
    assert (found.scrapes, found.failed) == (2, 1)
    assert found.probes[0].generation_tokens is None
    assert found.probes[0].running_peak == 16
    assert found.probes[0].client_requests == 40
    assert "1 scrapes failed, the first: timed out" in found.notes


def test_the_file_gives_back_what_was_put_in() -> None:
    kept = Scrapes(FAMILIES, [*probe(1), *probe(2)])
    missing = replace(kept.scrapes[3], values={"a": 0.25}, client=None)
    failed = replace(kept.scrapes[4], values={}, error="HTTP 500")
    kept = replace(kept, scrapes=[*kept.scrapes[:3], missing, failed, kept.scrapes[5]])
    data, whole = packed(kept)
    assert whole == kept
    assert unpacked(data, "f") == kept
    assert metrics_of(unpacked(data, "f"), "d") == metrics_of(kept, "d")
    assert packed(kept)[0] == data, "the same bytes each time"


def test_only_what_changed_is_written() -> None:
    data, _ = packed(Scrapes(FAMILIES, probe()))
    lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    assert lines[0]["families"] == FAMILIES
    assert set(lines[2]["values"]) == set(series(running=1, waiting=1, cache=1))


def test_a_large_file_loses_scrapes_within_probes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrapes, "MOST_BYTES", 4000)
    draw = random.Random(1)
    before, _, after = probe()
    many = [
        Scrape(1000.0 + n, 1, "during", {f"s{n}": draw.random() for n in range(20)})
        for n in range(60)
    ]
    data, kept = packed(Scrapes(FAMILIES, [before, *many, after]))
    assert len(data) <= 4000
    assert 2 < len(kept.scrapes) < 40
    assert (kept.scrapes[0], kept.scrapes[-1]) == (before, after)
    assert unpacked(data, "f") == kept


def damaged() -> dict[str, bytes]:
    data, _ = packed(Scrapes(FAMILIES, probe()))
    head: dict[str, Any] = {"format": "else", "version": 1, "families": {}}
    return {
        "cut": data[:-20],
        "altered": data[:40] + bytes(20) + data[60:],
        "no gzip": b"{}\n",
        "empty": gzip.compress(b""),
        "another": gzip.compress(json.dumps(head).encode()),
        "no scrape": gzip.compress(
            json.dumps({**head, "format": scrapes.FORMAT}).encode() + b'\n{"t": 1}\n'
        ),
    }


@pytest.mark.parametrize("how", damaged())
def test_a_damaged_file_is_one_clear_error(how: str) -> None:
    with pytest.raises(ArchiveError, match="trials/t0/f"):
        unpacked(damaged()[how], "trials/t0/f")
