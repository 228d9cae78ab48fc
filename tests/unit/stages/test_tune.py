"""Benchmark and tune over a queue in virtual time: more slots for a larger max_num_seqs."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from optikit.core.outcome import shipped_trial
from optikit.errors import BudgetExceeded, EngineDied, EngineStartFailed, PortInUse, StageFailed
from optikit.pools.inline import POOLS
from optikit.spec.endpoint import Endpoint
from optikit.spec.plan import Plan
from optikit.spec.record import ArtifactRef, FetchRecord, Trial
from optikit.spec.serving import ServingConfig
from optikit.spec.timing import PlannedRequest, RequestTiming
from optikit.stages.base import Inputs, Tools
from optikit.stages.benchmark import STAGE as BENCHMARK
from optikit.stages.tune import STAGE as TUNE
from optikit.tuners import TUNERS
from tests.specs import small_plan

SERVICE_S = 0.2
MODEL = ArtifactRef(kind="model", digest="sha256:" + "a" * 64, path="/m", size_bytes=1)


@dataclass
class Engine:
    """Each start takes the next of ``errors``; None starts."""

    errors: list[Exception | None] = field(default_factory=list)
    starts: list[ServingConfig] = field(default_factory=list)

    def version(self) -> str:
        return "1"

    @contextmanager
    def serve(self, model: Path, serving: ServingConfig, *_: Any, **__: Any) -> Iterator[Any]:
        self.starts.append(serving)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        endpoint = Endpoint(base_url="http://x", model=str(serving.max_num_seqs), vocab=1000)
        yield SimpleNamespace(endpoint=endpoint, startup_s=1.0, check=lambda: None)


class Queue:
    """First come, first served, with as many slots as the endpoint's name says."""

    name = "queue"

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[PlannedRequest],
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
    ) -> list[RequestTiming]:
        free = [0.0] * int(endpoint.model)
        clients = [0.0] * (concurrency or 0)
        timings = []
        for request in requests:
            at = heapq.heappop(clients) if concurrency else request.at_s
            end = max(at, heapq.heappop(free)) + SERVICE_S
            heapq.heappush(free, end)
            if concurrency:
                heapq.heappush(clients, end)
            timings.append(
                RequestTiming(request.index, at, at, end - 0.1, end, 8, request.output_tokens)
            )
        return timings


@dataclass
class Journal:
    """Keeps events; says what an earlier run finished."""

    root: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    finished: list[Trial] = field(default_factory=list)
    trials_left: int = 1000

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append({"kind": kind, **facts})

    def folder(self, *parts: str) -> Path:
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def trials(self) -> list[Trial]:
        return self.finished

    def remaining_s(self) -> float:
        done = sum(event["kind"] == "trial" for event in self.events)
        if done >= self.trials_left:
            raise BudgetExceeded("budget.wall_time_s: spent")
        return 1e6

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]


def plan(flow: str = "tune", trials: int = 3) -> Plan:
    made = small_plan(
        flow=flow,
        flow_params={
            "num_trials": trials,
            "space": {"max_num_seqs": [1, 2, 4, 8], "max_num_batched_tokens": [256]},
        },
        workload={"prompt_tokens": 8, "output_tokens": 4},
        slo=["p95(e2e) <= 1 s"],
        method={"requests_per_probe": 100},
        tuner="grid",
    )
    serving = made.serving.model_copy(update={"max_num_seqs": 2, "max_num_batched_tokens": 256})
    return made.model_copy(update={"serving": serving, "baseline_serving": serving})


@dataclass
class Bench:
    """The two stages on fakes."""

    tools: Tools
    engine: Engine
    journal: Journal
    inputs: Inputs


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    engine, journal, nothing = Engine(), Journal(tmp_path), cast(Any, None)
    with POOLS.open("test") as pool:
        tools = Tools(
            journal=cast(Any, journal),
            pool=pool,
            engine=cast(Any, engine),
            generator=Queue(),
            evaluator=nothing,
            recipe=None,
            tuner=TUNERS.load("grid"),
            models=nothing,
            read_texts=nothing,
            tracker=nothing,
        )
        fetched = FetchRecord(inputs_digest="d", model=MODEL, dataset=None)
        yield Bench(tools, engine, journal, Inputs(fetch=fetched))


def test_benchmark_measures_the_default_and_keeps_the_raw_timings(bench: Bench) -> None:
    record = BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")
    (trial,) = record.trials
    assert trial.variant == "baseline"
    assert trial.serving.max_num_seqs == 2
    assert trial.rate_rps == pytest.approx(2 / SERVICE_S, rel=0.35)
    assert trial.fitness == pytest.approx(trial.rate_rps)
    folder = bench.journal.root / "trials" / trial.id
    assert trial.rate is not None
    probes = trial.rate.probes
    assert [len((folder / str(p.raw)).read_text().splitlines()) for p in probes] == [
        p.measurement.requests for p in probes
    ]
    assert ServingConfig.model_validate_json((folder / "serving.json").read_text()) == trial.serving
    assert len(bench.journal.kinds("probe")) == len(probes)


def test_tuning_finds_the_larger_batch_and_measures_no_point_twice(bench: Bench) -> None:
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    record = TUNE.run(bench.tools, inputs, plan(), "d")
    tried = [t.serving.max_num_seqs for t in record.trials]
    assert sorted(tried) == [1, 4, 8]  # the default, 2, is known and costs no trial
    winner = shipped_trial(inputs.benchmark, record, "baseline")
    assert winner is not None
    assert winner.serving.max_num_seqs == 8


def test_one_dead_engine_costs_an_attempt_two_cost_the_trial(bench: Bench) -> None:
    dead = EngineDied("gone")
    bench.engine.errors = [dead, None, dead, dead]
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    record = TUNE.run(bench.tools, inputs, plan(), "d")
    assert inputs.benchmark is not None
    assert inputs.benchmark.trials[0].attempts == 2
    assert [t.state for t in record.trials] == ["failed", "complete", "complete"]
    assert record.trials[0].error == "gone"
    assert len(bench.journal.kinds("attempt_failed")) == 3
    assert record.winner is not None


def test_an_engine_that_never_starts_fails_the_stage_with_its_words(bench: Bench) -> None:
    bench.engine.errors = [EngineStartFailed("illegal flag --x")] * 20
    with pytest.raises(StageFailed, match=r"all 1 trial.*illegal flag --x"):
        BENCHMARK.run(bench.tools, bench.inputs, plan("benchmark"), "d")
    record = BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")  # tuning may still help
    assert record.trials[0].state == "failed"
    with pytest.raises(StageFailed, match="all 3 trial"):
        TUNE.run(bench.tools, bench.inputs.plus(record), plan(), "d")


def test_a_taken_port_ends_the_job_at_once(bench: Bench) -> None:
    bench.engine.errors = [PortInUse("port 8000")]
    with pytest.raises(PortInUse):
        BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")
    assert len(bench.engine.starts) == 1


def test_an_exhausted_budget_ends_tuning_with_what_is_known(bench: Bench) -> None:
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    bench.journal.trials_left = 2
    record = TUNE.run(bench.tools, inputs, plan(), "d")
    assert len(record.trials) == 1
    assert record.stopped_early is not None
    assert record.winner is not None


def test_a_resumed_tuning_measures_only_what_is_missing(bench: Bench) -> None:
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    first = TUNE.run(bench.tools, inputs, plan(trials=1), "d")
    bench.journal.finished = list(first.trials)
    bench.engine.starts.clear()
    record = TUNE.run(bench.tools, inputs, plan(), "d")
    assert record.trials[0] == first.trials[0]
    assert len(bench.engine.starts) == 2
    assert len({t.id for t in record.trials}) == 3


def test_a_resume_after_the_engine_was_mended_measures_anew(bench: Bench) -> None:
    dead = EngineDied("gone")
    bench.engine.errors = [None, dead, dead]
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    first = TUNE.run(bench.tools, inputs, plan(trials=1), "d")
    assert first.trials[0].state == "failed"
    bench.journal.finished = list(first.trials)
    again = TUNE.run(bench.tools, inputs, plan(trials=1), "d")
    assert [(t.id, t.state) for t in again.trials] == [("t01-baseline", "complete")]


def test_an_engine_that_always_dies_is_not_started_for_every_trial(bench: Bench) -> None:
    bench.engine.errors = [EngineStartFailed("illegal flag")] * 100
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    with pytest.raises(StageFailed, match="illegal flag"):
        TUNE.run(bench.tools, inputs, plan(), "d")
    assert len(bench.engine.starts) == 6  # three trials of two attempts


def test_device_seconds_are_written_down_however_a_task_ends(bench: Bench) -> None:
    bench.engine.errors = [EngineDied("gone")]
    BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")
    occupied = bench.journal.kinds("occupied")
    assert len(occupied) == 2
    assert all(event["devices"] == 1 and event["seconds"] >= 0 for event in occupied)
