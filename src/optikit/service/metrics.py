"""The service in numbers for Prometheus.

What is now comes from the queue at every scrape; what happened is counted as the queue hears it,
from the service's start on: a restart begins at zero, as Prometheus expects of a counter. Labels
have bounded values: teams that the service knows, kinds of devices that are there or asked for,
stages, states.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from optikit import __version__
from optikit.adapters.prometheus_client import (
    Collector,
    CollectorRegistry,
    Counter,
    Gauge,
    GaugeMetricFamily,
    Histogram,
    Metric,
    ProcessCollector,
    choose_encoder,
)
from optikit.reports.summary import FINAL
from optikit.service.base import Decision, QueueFacts
from optikit.stages import STAGES

__all__ = ["LOOPBACK_NAMES", "Metrics"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_OTHER = "other"
_ENGINES = ("vllm", "sglang", "openai", "simulated")
_Labels = TypeVar("_Labels", bound=tuple[str, ...])
_DECISIONS: tuple[Decision, ...] = ("granted", "refused", "driver_started", "driver_died")
_OUTCOMES = ("complete", "pruned", "failed")
_ENDS = ("done", "failed", "cancelled")
_MINUTE, _HOUR = 60.0, 3600.0
_STAGE_S = (1, 5, 15, _MINUTE, 300, 900, 1800, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 24 * _HOUR)
_LAG_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1)
_USES = ("reserved", "measuring")
_START_S = (1, 5, 10, 20, 30, _MINUTE, 120, 300, 600, 1200)


class Metrics:
    """Watches a queue, and shows it.

    Args:
        public: whether others than this machine may look.
        behind_proxy: then every asker seems to be this machine, and none is taken for it.
    """

    def __init__(self, public: bool = False, behind_proxy: bool = False) -> None:
        self._public, self._behind_proxy = public, behind_proxy
        self._registry = registry = CollectorRegistry()
        self._stages = frozenset(STAGES.names())
        ProcessCollector(registry=registry)
        Gauge(
            "optikit_build_info", "1; the version is a label.", ["version"], registry=registry
        ).labels(__version__).set(1)
        self._jobs_ended = Counter(
            "optikit_jobs_ended", "Jobs that ended, by state.", ["state"], registry=registry
        )
        self._stage_s = Histogram(
            "optikit_stage_duration_seconds",
            "Stages that ended, by how and after how long; without the wait in the queue.",
            ["stage", "outcome"],
            buckets=_STAGE_S,
            registry=registry,
        )
        self._trials = Counter(
            "optikit_trials", "Trials that ended, by outcome.", ["outcome"], registry=registry
        )
        self._startup_s = Histogram(
            "optikit_engine_startup_seconds",
            "Engines that started, by how long it took; of engine simulated in virtual time.",
            ["engine"],
            buckets=_START_S,
            registry=registry,
        )
        self._lag_s = Histogram(
            "optikit_client_lag_seconds",
            "Probes, by the p99 of how late their client sent.",
            buckets=_LAG_S,
            registry=registry,
        )
        self._used = Histogram(
            "optikit_search_utilization_ratio",
            "Searches that ended, by the share of devices x time that trials held, or measured on.",
            ["use"],
            buckets=_SHARES,
            registry=registry,
        )
        self._decisions = Counter(
            "optikit_queue_decisions", "What the queue did.", ["decision"], registry=registry
        )
        # a series that is there from the beginning has an increase also for its first event
        for state in sorted(FINAL):
            self._jobs_ended.labels(state)
        for outcome in _OUTCOMES:
            self._trials.labels(outcome)
        for decision in _DECISIONS:
            self._decisions.labels(decision)
        for use in _USES:
            self._used.labels(use)
        for stage in sorted(self._stages):
            self._stage_s.labels(stage, "done")

    # -- what happens

    def heard(self, event: Mapping[str, Any]) -> None:
        """A new line of a live job's journal; a broken one counts for nothing."""
        kind = event["kind"]
        if kind == "state" and event.get("state") in FINAL:
            self._jobs_ended.labels(event["state"]).inc()
        elif kind == "stage" and event.get("state") in _ENDS:
            seconds, stage = _seconds(event.get("seconds")), event.get("stage")
            if seconds is not None:
                known = stage if stage in self._stages else _OTHER
                self._stage_s.labels(known, event["state"]).observe(seconds)
        elif kind == "trial" and isinstance(event.get("trial"), Mapping):
            outcome = event["trial"].get("state")
            self._trials.labels(outcome if outcome in _OUTCOMES else _OTHER).inc()
        elif kind == "engine_ready":
            seconds, engine = _seconds(event.get("startup_s")), event.get("engine")
            if seconds is not None:
                known = engine if engine in _ENGINES else _OTHER
                self._startup_s.labels(known).observe(seconds)

        elif kind == "probe":
            lag_ms = _seconds(_lag_ms(event.get("probe")))
            if lag_ms is not None:
                self._lag_s.observe(lag_ms / 1000)
        elif kind == "record":
            self._searched(event.get("record"))

    def _searched(self, record: Any) -> None:
        usage = record.get("usage") if isinstance(record, Mapping) else None
        for used in usage.values() if isinstance(usage, Mapping) else ():
            for use in _USES:
                share = _seconds(used.get(use)) if isinstance(used, Mapping) else None
                if share is not None:
                    self._used.labels(use).observe(share)

    def decided(self, decision: Decision) -> None:
        """The queue did something."""
        self._decisions.labels(decision).inc()

    # -- what is

    def watch(self, facts: Callable[[], QueueFacts]) -> None:
        """From now on also show the queue; ``facts`` is called at every scrape."""
        self._registry.register(_Queue(facts))

    def may_see(self, asker: str, host: str) -> bool:
        """Whether somebody may look.

        Args:
            asker: address of the other end of the connection.
            host: by which name it asked for the service, without the port: a page of the web that
                was told that its name is 127.0.0.1 has no business here.
        """
        if self._public:
            return True
        try:
            here = ipaddress.ip_address(asker).is_loopback
        except ValueError:
            here = False
        return here and not self._behind_proxy and host in LOOPBACK_NAMES

    def text(self, accept: str) -> tuple[bytes, str]:
        """Every figure, and the media type: text of Prometheus, or OpenMetrics where asked for."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


def _lag_ms(probe: Any) -> Any:
    """p99 of the client's lag, as a probe's record has it."""
    measured = probe.get("measurement") if isinstance(probe, Mapping) else None
    found = measured.get("quantiles") if isinstance(measured, Mapping) else None
    for quantile in found if isinstance(found, list) else ():
        if isinstance(quantile, Mapping) and quantile.get("metric") == "lag":
            return quantile.get("value_ms")
    return None


class _Queue(Collector):
    """The queue as it is at the moment of a scrape."""

    def __init__(self, facts: Callable[[], QueueFacts]) -> None:
        self._facts = facts

    def describe(self) -> Iterator[Metric]:
        """Nothing: there may be no queue yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Gauges."""
        facts = self._facts()
        yield _by(
            "optikit_jobs", "Jobs that have not ended, by state.", ("team", "state"), facts.jobs
        )
        by_team = ("team", "kind")
        yield _by("optikit_queue_waiting_devices", "Asked for, not had.", by_team, facts.waiting)
        yield _by("optikit_queue_held_devices", "Held by stages.", by_team, facts.held)
        waits = {(kind,): 0.0 for kind in facts.nodes}
        waits |= {(kind,): wait for kind, wait in facts.oldest_wait_s.items()}
        said = "How long the oldest stage that waits has waited."
        yield _by("optikit_queue_oldest_wait_seconds", said, ("kind",), waits)
        nodes = {(kind,): count for kind, (count, _) in facts.nodes.items()}
        yield _by("optikit_nodes", "Nodes of the cluster.", ("kind",), nodes)
        devices = {(kind,): count for kind, (_, count) in facts.nodes.items()}
        yield _by("optikit_devices", "Devices of the cluster.", ("kind",), devices)
        yield GaugeMetricFamily(
            "optikit_job_longest_silence_seconds",
            "Since the last word of the most silent job that runs and waits for nothing.",
            facts.longest_silence_s,
        )
        yield GaugeMetricFamily(
            "optikit_queue_last_turn_timestamp_seconds",
            "When the queue last had a turn; it has several a second.",
            facts.turned_s,
        )


def _by(
    name: str, said: str, labels: tuple[str, ...], values: Mapping[_Labels, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, said, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _seconds(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    found = float(str(value)) if plain else math.nan
    return found if 0 <= found < math.inf else None
