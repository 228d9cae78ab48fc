"""Benchmark and tune over a queue in virtual time: more slots for a larger max_num_seqs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from optikit.core.corners import four_corners
from optikit.core.load import Load
from optikit.core.outcome import shipped_trial
from optikit.core.timings import Timings
from optikit.errors import (
    EngineDied,
    EngineStartFailed,
    OptikitError,
    PortInUse,
    StageFailed,
)
from optikit.journal import raw_digest
from optikit.pools.inline import POOLS
from optikit.runners import RUNNERS
from optikit.spec.candidate import ArtifactRef
from optikit.spec.endpoint import Endpoint
from optikit.spec.plan import Plan
from optikit.spec.record import FetchRecord
from optikit.spec.serving import ServingConfig
from optikit.spec.slo import Slo
from optikit.stages.base import Inputs, Tools
from optikit.stages.benchmark import STAGE as BENCHMARK
from optikit.stages.tune import STAGE as TUNE
from optikit.tuners import TUNERS
from optikit.tuners.base import Seen, Study
from tests import doubles
from tests.specs import small_plan
from tests.unit.stages.tuning_case import Journal

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
        yield SimpleNamespace(endpoint=endpoint, startup_s=1.0, check=lambda: None, says={})


@dataclass
class Queue(doubles.Queue):
    """As many seats as the endpoint's name says."""

    service_s: float = SERVICE_S

    def run(self, endpoint: Endpoint, load: Load, **options: Any) -> Timings:
        self.seats = int(endpoint.model)
        return super().run(endpoint, load, **options)


def plan(flow: str = "tune", trials: int = 3, **tuner: Any) -> Plan:
    made = small_plan(
        flow=flow,
        flow_params={
            "num_trials": trials,
            "space": {"max_num_seqs": [1, 2, 4, 8], "max_num_batched_tokens": [256]},
        },
        workload={"prompt_tokens": 8, "output_tokens": 4},
        method={"requests_per_probe": 100},
        tuner={"name": "grid", "finalists": 0, "racing": False, **tuner},
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
            logprobs=nothing,
            recipes={},
            tuner=TUNERS.load("grid"),
            runner=RUNNERS.load("packed"),
            models=nothing,
            remote=nothing,
            baselines=nothing,
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
    assert trial.rate_rps == pytest.approx(2 / SERVICE_S, rel=0.1)
    assert trial.fitness == pytest.approx(trial.rate_rps)
    folder = bench.journal.root / "trials" / trial.id
    assert trial.rate is not None
    probes = trial.rate.probes
    for probe in probes:
        rows = [json.loads(line) for line in (folder / str(probe.raw)).read_text().splitlines()]
        assert sum(row["measured"] for row in rows) == probe.measurement.requests
        assert len(rows) >= probe.measurement.requests
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


def test_each_attempt_keeps_its_files_and_says_what_followed(bench: Bench) -> None:
    """The log of an attempt that failed lies beside that of the one that did not."""
    bench.engine.errors = [EngineDied("gone", cause="crash"), None]
    record = BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")
    folder = bench.journal.root / "trials" / record.trials[0].id
    assert sorted(path.name for path in (folder / "attempt-1").iterdir()) == [
        "engine.log",
        "serving.json",
    ]
    assert (folder / "engine.log").exists()
    (failed,) = bench.journal.kinds("attempt_failed")
    assert (failed["attempt"], failed["fate"], failed["cause"]) == (1, "retry", "crash")


def test_a_failure_that_is_nobodys_ends_the_job_and_is_no_attempt(bench: Bench) -> None:
    bench.engine.errors = [OptikitError("a library's own")]
    with pytest.raises(OptikitError, match="a library's own"):
        BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")
    assert bench.journal.kinds("attempt_failed") == []


def test_the_journal_has_the_digest_of_every_raw_file(bench: Bench) -> None:
    record = BENCHMARK.run(bench.tools, bench.inputs, plan(), "d")
    folder = bench.journal.root / "trials" / record.trials[0].id
    said = {event["probe"]["raw"]: event["raw_digest"] for event in bench.journal.kinds("probe")}
    assert len(said) > 3
    assert said == {name: raw_digest(folder, [name]) for name in said}


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


def test_the_best_and_the_default_are_measured_again_interleaved(bench: Bench) -> None:
    asked = plan(finalists=2, finalist_runs=2)
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, asked, "d"))
    bench.engine.starts.clear()
    record = TUNE.run(bench.tools, inputs, asked, "d")
    seats = [serving.max_num_seqs for serving in bench.engine.starts]
    assert seats == [1, 4, 8, 2, 8, 4, 4, 8, 2]  # the search, then there and back again
    assert [(c.default, len(c.runs)) for c in record.contenders] == [
        (True, 2),
        (False, 2),
        (False, 2),
    ]
    assert not any(
        t.rate and t.rate.preliminary is False for t in record.trials if t.purpose == "tune"
    )
    winner = shipped_trial(inputs.benchmark, record, "baseline")
    assert winner is not None
    assert (winner.purpose, winner.serving.max_num_seqs) == ("finalist", 8)
    corners = four_corners(inputs.benchmark.trials, record.trials, False, record.contenders)  # type: ignore[union-attr]
    tuned = corners["tuned"]
    assert tuned.gain == pytest.approx(4.0, rel=0.1)
    assert tuned.gain_low is not None
    assert tuned.gain is not None
    assert 1 < tuned.gain_low <= tuned.gain


def test_a_resume_repeats_no_finalist_either(bench: Bench) -> None:
    asked = plan(finalists=1, finalist_runs=2)
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, asked, "d"))
    first = TUNE.run(bench.tools, inputs, asked, "d")
    bench.journal.finished = list(first.trials)[:-1]  # killed in the last one
    bench.engine.starts.clear()
    again = TUNE.run(bench.tools, inputs, asked, "d")
    assert len(bench.engine.starts) == 1
    assert [t.id for t in again.trials] == [t.id for t in first.trials]
    assert again.winner == first.winner


def test_a_trial_that_cannot_win_is_pruned_and_never_the_winner(bench: Bench) -> None:
    asked = plan(racing=True)
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, asked, "d"))
    record = TUNE.run(bench.tools, inputs, asked, "d")
    one, four, eight = record.trials
    assert (one.serving.max_num_seqs, one.state, one.fitness) == (1, "pruned", None)
    assert one.rate is not None
    assert one.rate_rps is None
    assert one.rate.requests < (four.rate.requests if four.rate else 0)
    assert [four.state, eight.state] == ["complete", "complete"]
    assert record.winner == eight.id


def test_what_failed_by_its_configuration_is_not_tried_twice(bench: Bench) -> None:
    full = EngineStartFailed("no room")
    full.cause = "out of memory"
    bench.engine.errors = [None, full]
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    record = TUNE.run(bench.tools, inputs, plan(), "d")
    assert next((t.state, t.cause, t.attempts) for t in record.trials) == (
        "failed",
        "out of memory",
        1,
    )
    assert len(bench.engine.starts) == 4


def test_the_default_takes_no_finalists_place(bench: Bench) -> None:
    asked = plan(finalists=2, finalist_runs=1)
    serving = asked.serving.model_copy(update={"max_num_seqs": 8})
    asked = asked.model_copy(update={"serving": serving, "baseline_serving": serving})
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, asked, "d"))
    record = TUNE.run(bench.tools, inputs, asked, "d")
    assert [c.default for c in record.contenders] == [True, False, False]
    winner = shipped_trial(inputs.benchmark, record, "baseline")
    assert winner is not None
    assert winner.serving.max_num_seqs == 8


def test_the_cost_of_a_device_divides_the_fitness(bench: Bench) -> None:
    job = plan().job
    compute = job.compute.model_copy(update={"prices": {"CPU_2": 2.0}})
    tuner = job.tuner.model_copy(update={"objective": "per_cost"})
    dear = plan().model_copy(
        update={"job": job.model_copy(update={"compute": compute, "tuner": tuner})}
    )
    (trial,) = BENCHMARK.run(bench.tools, bench.inputs, dear, "d").trials
    assert trial.rate_rps is not None
    assert trial.fitness == pytest.approx(trial.rate_rps / 2)


def test_jobs_alike_seed_the_search_and_others_do_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = bench.inputs.plus(BENCHMARK.run(bench.tools, bench.inputs, plan(), "d"))
    first = TUNE.run(bench.tools, inputs, plan(), "d")
    assert inputs.benchmark is not None
    trials = [*inputs.benchmark.trials, *first.trials]
    told: list[Seen] = []
    start = bench.tools.tuner.start

    def listening(*args: Any, known: Sequence[Seen] = (), **options: Any) -> Study:
        told[:] = known
        return start(*args, known=known, **options)

    monkeypatch.setattr(type(bench.tools.tuner), "start", staticmethod(listening))
    monkeypatch.setattr(Journal, "earlier", lambda self: [(plan(), trials)])
    TUNE.run(bench.tools, inputs, plan(), "d")
    best = max(told, key=lambda seen: seen.outcome.fitness or 0.0)
    assert best.point["max_num_seqs"] == 8
    assert 0 < best.weight < 1
    other = plan().job.model_copy(update={"slo": Slo.parse(["p99(ttft) <= 1 s"])})
    unlike = plan().model_copy(update={"job": other})
    monkeypatch.setattr(Journal, "earlier", lambda self: [(unlike, trials)])
    TUNE.run(bench.tools, inputs, plan(), "d")
    assert told == []
    monkeypatch.setattr(Journal, "earlier", lambda self: [(plan(), trials)])
    TUNE.run(bench.tools, inputs, plan(transfer=False), "d")
    assert told == []
