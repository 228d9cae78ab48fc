"""The service in numbers, read as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from optikit.service.base import QueueFacts
from optikit.service.metrics import Metrics

FACTS = QueueFacts(
    jobs={("a", "queued"): 2, ("a", "running"): 1, ("b", "queued"): 0},
    waiting={("a", "H100"): 8, ("a", "L40S"): 0},
    held={("a", "H100"): 4},
    oldest_wait_s={"H100": 90.5},
    nodes={"H100": (2, 16), "L40S": (1, 4)},
    longest_silence_s=12.0,
    turned_s=1000.0,
)
UNITS = ("_ratio", "_seconds", "_total", "_bytes", "_info", "_jobs", "_devices", "_nodes", "_fds")


def values(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text, media_type = metrics.text("")
    assert media_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return values(metrics)[name, frozenset(labels.items())]


def trial(state: str) -> Mapping[str, Any]:
    return {"kind": "trial", "trial": {"state": state}}


def test_the_queue_is_shown_as_it_is() -> None:
    metrics = Metrics()
    metrics.watch(lambda: FACTS)
    assert value(metrics, "optikit_jobs", team="a", state="queued") == 2
    assert value(metrics, "optikit_queue_waiting_devices", team="a", kind="H100") == 8
    assert value(metrics, "optikit_queue_held_devices", team="a", kind="H100") == 4
    assert value(metrics, "optikit_queue_oldest_wait_seconds", kind="H100") == 90.5
    assert value(metrics, "optikit_queue_oldest_wait_seconds", kind="L40S") == 0
    assert value(metrics, "optikit_nodes", kind="H100") == 2
    assert value(metrics, "optikit_devices", kind="H100") == 16
    assert value(metrics, "optikit_job_longest_silence_seconds") == 12
    assert value(metrics, "optikit_queue_last_turn_timestamp_seconds") == 1000


def test_what_happens_is_counted() -> None:
    metrics = Metrics()
    assert value(metrics, "optikit_trials_total", outcome="failed") == 0, "there before the first"
    for event in (
        trial("failed"), trial("failed"), trial("complete"),
        {"kind": "state", "state": "running"}, {"kind": "state", "state": "negative"},
        {"kind": "stage", "stage": "tune", "state": "running"},
        {"kind": "stage", "stage": "tune", "state": "done", "seconds": 70.0},
        {"kind": "stage", "stage": "tune", "state": "skipped", "seconds": 70.0},
        {"kind": "engine_ready", "trial": "t", "engine": "vllm", "startup_s": 45.0},
        {"kind": "note", "text": "x"},
    ):  # fmt: skip
        metrics.heard(event)
    metrics.decided("granted")
    assert value(metrics, "optikit_trials_total", outcome="failed") == 2
    assert value(metrics, "optikit_trials_total", outcome="complete") == 1
    assert value(metrics, "optikit_jobs_ended_total", state="negative") == 1
    assert value(metrics, "optikit_jobs_ended_total", state="done") == 0
    of = {"stage": "tune", "outcome": "done"}
    assert value(metrics, "optikit_stage_duration_seconds_count", **of) == 1
    assert value(metrics, "optikit_stage_duration_seconds_sum", **of) == 70
    assert value(metrics, "optikit_stage_duration_seconds_bucket", **of, le="60.0") == 0
    assert value(metrics, "optikit_stage_duration_seconds_bucket", **of, le="300.0") == 1
    assert value(metrics, "optikit_engine_startup_seconds_sum", engine="vllm") == 45
    assert value(metrics, "optikit_queue_decisions_total", decision="granted") == 1


def test_client_lag_and_use_of_devices_are_seen() -> None:
    metrics = Metrics()
    assert value(metrics, "optikit_search_utilization_ratio_count", use="reserved") == 0
    lag = {"metric": "lag", "percentile": 99.0, "value_ms": 4.0}
    e2e = {"metric": "e2e", "percentile": 99.0, "value_ms": 900.0}
    for event in (
        {"kind": "probe", "probe": {"measurement": {"quantiles": [e2e, lag]}}},
        {"kind": "probe", "probe": {"measurement": None}},
        {"kind": "probe", "probe": {"measurement": {"quantiles": [e2e, {"metric": "lag"}]}}},
        {"kind": "probe"},
        {"kind": "record", "record": {"stage": "tune", "usage": {
            "compressed": {"reserved": 0.97, "measuring": 0.66}, "finalists": {"reserved": "x"}}}},
        {"kind": "record", "record": {"stage": "fetch"}},
        {"kind": "record", "record": {"usage": [1]}},
        {"kind": "record", "record": None},
    ):  # fmt: skip
        metrics.heard(event)
    assert value(metrics, "optikit_client_lag_seconds_count") == 1
    assert value(metrics, "optikit_client_lag_seconds_sum") == pytest.approx(0.004)
    for use, share in (("reserved", 0.97), ("measuring", 0.66)):
        assert value(metrics, "optikit_search_utilization_ratio_count", use=use) == 1
        assert value(metrics, "optikit_search_utilization_ratio_sum", use=use) == share


def test_what_a_journal_says_makes_no_labels_without_end_and_breaks_nothing() -> None:
    metrics = Metrics()
    before = len(values(metrics))
    for number in range(50):
        metrics.heard({"kind": "stage", "stage": f"s{number}", "state": "done", "seconds": 1.0})
        metrics.heard(trial(f"odd{number}"))
        metrics.heard({"kind": "state", "state": f"odd{number}"})
        metrics.heard({"kind": "engine_ready", "engine": f"e{number}", "startup_s": 1})
    for broken in (None, "soon", float("nan"), -1.0, True, [1]):
        metrics.heard({"kind": "stage", "stage": "tune", "state": "done", "seconds": broken})
        metrics.heard({"kind": "engine_ready", "engine": "vllm", "startup_s": broken})
        metrics.heard({"kind": "trial", "trial": broken})
    of = {"stage": "tune", "outcome": "done"}
    assert value(metrics, "optikit_stage_duration_seconds_count", **of) == 0
    # one more stage, engine and outcome, each called other
    assert len(values(metrics)) - before < 40


def test_names_say_their_units() -> None:
    metrics = Metrics()
    metrics.watch(lambda: FACTS)
    metrics.heard({"kind": "engine_ready", "engine": "vllm", "startup_s": 1})
    names = {name for name, _ in values(metrics)}
    plain = {n.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for n in names}
    created = {name for name in plain if name.endswith("_created")}
    assert len(plain) > 15
    assert {name for name in plain - created if not name.endswith(UNITS)} == set()


def test_openmetrics_is_answered_where_it_is_asked_for() -> None:
    metrics = Metrics()
    metrics.watch(lambda: FACTS)
    text, media_type = metrics.text("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    families = openmetrics_families(text.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {
        *("optikit_jobs", "optikit_trials", "optikit_stage_duration_seconds")
    }


@pytest.mark.parametrize(
    ("public", "proxy", "asker", "host", "sees"),
    [
        (False, False, "127.0.0.1", "localhost", True),
        (False, False, "::1", "[::1]", True),
        (False, False, "127.0.0.1", "evil.example", False),
        (False, False, "10.0.0.7", "127.0.0.1", False),
        (False, True, "127.0.0.1", "localhost", False),
        (False, False, "", "localhost", False),
        (False, False, "testclient", "localhost", False),
        (True, True, "10.0.0.7", "optikit.example", True),
    ],
)
def test_this_machine_sees_them_and_others_where_the_site_says_so(
    public: bool, proxy: bool, asker: str, host: str, sees: bool
) -> None:
    assert Metrics(public, proxy).may_see(asker, host) is sees
