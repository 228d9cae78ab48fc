"""Candidates: made side by side, archived each, and one failure does not sink the rest."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from optikit.core.calibration import TokenStatistics
from optikit.core.plan import make_plan
from optikit.errors import BadInput, DatasetError, DiskFull, StageFailed, WorkerDied
from optikit.flows import FLOWS
from optikit.pools.inline import POOLS
from optikit.recipes.base import Compressed
from optikit.spec.candidate import Candidate, LayerError
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.recipe import RecipeFacts
from optikit.spec.record import FetchRecord
from optikit.stages import _texts
from optikit.stages.base import Inputs, Tools
from optikit.stages.compress import STAGE
from optikit.stores.base import Texts
from tests.specs import ENGINE, RTN, SMALL
from tests.unit.stages.publish_case import Case, Journal, model_folder

CALIBRATED = RTN.model_copy(
    update={"name": "int_w8a8", "needs_calibration": True, "default_samples": 4}
)


@dataclass
class Recipe:
    """Writes a checkpoint of one byte, or fails as told."""

    facts: RecipeFacts
    errors: list[Exception] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def compress(self, model: Path, out: Path, samples: Sequence[str], **asked: Any) -> Compressed:
        self.asked.append({"samples": tuple(samples), **asked})
        if self.errors:
            out.mkdir()
            raise self.errors.pop(0)
        model_folder(out, bytes([len(self.asked)]), licence=False)
        return Compressed((LayerError(layer="a", error=0.5),), device_peak_bytes=7)


class Words:
    """A tokenizer that counts words."""

    def render(self, chat: Any) -> str:
        raise AssertionError("no chats here")

    def measure(self, texts: Sequence[str], max_tokens: int) -> TokenStatistics:
        import numpy as np

        counts = np.array([len(text.split()) for text in texts])
        return TokenStatistics(counts, counts, max_tokens)


@dataclass
class Kept(Journal):
    """A journal that gives candidates back."""

    def remaining_s(self) -> float:
        return 1e6

    def candidates(self, inputs_digest: str) -> list[Candidate]:
        return [
            Candidate.parse(facts["candidate"])
            for kind, facts in self.events
            if kind == "candidate" and facts.get("inputs_digest") == inputs_digest
        ]


@dataclass
class Bench:
    """The stage with recipes that only pretend."""

    tools: Tools
    journal: Kept
    fetched: FetchRecord
    texts: list[str] = field(default_factory=lambda: [f"text number {n}" for n in range(40)])

    def run(self, plan: Plan, *recipes: Recipe) -> Any:
        self.tools = replace(self.tools, recipes={r.facts.name: r for r in recipes})
        with POOLS.open("compress") as pool:
            tools = replace(self.tools, pool=pool)
            return STAGE.run(tools, Inputs(fetch=self.fetched), plan, "digest")


def plan(*recipes: RecipeFacts, sku: str = "CPU_2", **params: Any) -> Plan:
    job = OptimizationJob.parse(
        {
            "model": {"name": "m"},
            "dataset": {"path": "/d"},
            "compute": {"sku": sku},
            "flow_params": {"recipe": [r.name for r in recipes], **params},
        }
    )
    return make_plan(job, FLOWS.load("quantize"), SMALL, ENGINE, recipes)


@pytest.fixture
def bench(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    journal = Kept(case.journal.home)
    dataset = case.fetched.model_copy(update={"kind": "dataset"})
    fetched = FetchRecord(inputs_digest="d", model=case.fetched, dataset=dataset)
    bench = Bench(case.tools, journal, fetched)

    def read(path: Path, text_field: str | None = None) -> Texts:
        return Texts(tuple(bench.texts), len(bench.texts) + 2, {"empty": 2}, "text")

    monkeypatch.setattr(_texts, "load_tokenizer", lambda model, code: Words())
    bench.tools = replace(case.tools, journal=cast(Any, journal), read_texts=cast(Any, read))
    return bench


def test_a_candidate_says_how_it_was_made(bench: Bench) -> None:
    recipe = Recipe(CALIBRATED)
    record = bench.run(plan(CALIBRATED, compression_memory_gib=2), recipe)
    (made,) = record.candidates
    assert (made.id, made.recipe, made.seed, made.samples) == ("c0-int_w8a8", "int_w8a8", 0, 4)
    assert made.layer_errors[0].error == 0.5
    assert made.device_peak_bytes == 7
    assert made.peak_memory_bytes > 1_000_000
    assert made.sample_digest is not None
    assert Path(made.model.path).is_dir()
    assert recipe.asked[0]["memory_bytes"] == 2 * 1024**3
    assert record.dataset.rows == 42
    assert record.dataset.skipped == {"empty": 2}
    assert "2 empty" in bench.journal.events[-1][1]["text"]
    assert list((bench.journal.folder("candidates")).iterdir()) == []


def test_each_seed_draws_its_own_sample_and_no_sample_is_held_out(bench: Bench) -> None:
    recipe = Recipe(CALIBRATED)
    record = bench.run(plan(CALIBRATED, num_compression_trials=3), recipe)
    assert [c.seed for c in record.candidates] == [0, 1, 2]
    assert len({frozenset(asked["samples"]) for asked in recipe.asked}) == 3
    texts = _texts.texts_of(bench.tools, plan(CALIBRATED), bench.fetched)
    assert texts is not None
    assert len(texts.held_out) == 32
    assert len(texts.calibration) == 8
    drawn = {text for asked in recipe.asked for text in asked["samples"]}
    assert not drawn & set(texts.held_out)


def test_a_small_dataset_is_drawn_from_whole(bench: Bench) -> None:
    bench.texts = bench.texts[:20]  # 16 could be held out, but then the sample were no choice
    texts = _texts.texts_of(bench.tools, plan(CALIBRATED), bench.fetched)
    assert texts is not None
    assert (len(texts.calibration), texts.held_out) == (20, ())


def test_too_few_texts_end_the_stage(bench: Bench) -> None:
    bench.texts = bench.texts[:3]
    with pytest.raises(DatasetError, match="asked 4 calibration samples, found 3"):
        bench.run(plan(CALIBRATED, RTN), Recipe(CALIBRATED), Recipe(RTN))


def test_one_candidate_that_cannot_be_made_is_a_record(bench: Bench) -> None:
    broken = Recipe(CALIBRATED, [BadInput("this architecture has no such layers")])
    record = bench.run(plan(CALIBRATED, RTN), broken, Recipe(RTN))
    first, second = record.candidates
    assert (first.model, first.error) == (None, "this architecture has no such layers")
    assert second.model is not None


def test_alone_its_error_is_the_jobs_and_of_several_all_are_named(bench: Bench) -> None:
    with pytest.raises(BadInput, match="no such layers"):
        bench.run(plan(RTN), Recipe(RTN, [BadInput("no such layers")]))
    both = Recipe(CALIBRATED, [BadInput("one")]), Recipe(RTN, [BadInput("two")])
    with pytest.raises(StageFailed, match=r"c0-int_w8a8: one; c1-int_w8a8_rtn: two"):
        bench.run(plan(CALIBRATED, RTN), *both)


def test_a_dead_worker_costs_an_attempt_and_a_full_disk_ends_the_stage(bench: Bench) -> None:
    record = bench.run(plan(RTN), Recipe(RTN, [WorkerDied("killed")]))
    assert (record.attempts, record.candidates[0].attempts) == (2, 2)
    with pytest.raises(DiskFull):
        bench.run(plan(CALIBRATED, RTN), Recipe(CALIBRATED, [DiskFull("full")]), Recipe(RTN))


def test_a_librarys_exception_is_this_candidates_alone(bench: Bench) -> None:
    odd = Recipe(CALIBRATED, [cast(Any, KeyError("model.layers"))])
    record = bench.run(plan(CALIBRATED, RTN), odd, Recipe(RTN))
    assert "KeyError: 'model.layers'" in record.candidates[0].error
    assert record.candidates[1].model is not None


def test_nothing_made_is_a_record_where_the_uncompressed_model_may_ship(bench: Bench) -> None:
    job = plan(RTN)
    job = job.model_copy(update={"job": job.job.model_copy(update={"fallback": "baseline"})})
    record = bench.run(job, Recipe(RTN, [BadInput("no such layers")]))
    assert record.candidates[0].model is None


def test_a_second_run_makes_only_what_is_missing(bench: Bench) -> None:
    good, bad = Recipe(CALIBRATED), Recipe(RTN, [BadInput("not now")])
    first = bench.run(plan(CALIBRATED, RTN), good, bad)
    second = bench.run(plan(CALIBRATED, RTN), good, bad)
    assert len(good.asked) == 1
    assert second.candidates[0] == first.candidates[0]
    assert second.dataset == first.dataset
    assert second.candidates[1].model is not None


def test_candidates_are_made_side_by_side_where_the_sku_has_devices(bench: Bench) -> None:
    at_once = threading.Barrier(2, timeout=20)

    @dataclass
    class Waits(Recipe):
        def compress(self, *args: Any, **asked: Any) -> Compressed:
            at_once.wait()  # breaks unless both are there
            return super().compress(*args, **asked)

    record = bench.run(plan(CALIBRATED, RTN, sku="H100_2"), Waits(CALIBRATED), Waits(RTN))
    assert [c.error for c in record.candidates] == [None, None]
