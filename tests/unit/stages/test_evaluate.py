"""The quality gate's choice, with an engine and an evaluator that only answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from optikit.core.divergence import DocumentLogprobs
from optikit.errors import EngineStartFailed, NoKernel, OptikitError
from optikit.evaluators.base import TokenizedTexts
from optikit.spec.quality import ItemScores
from optikit.spec.record import CompressRecord
from optikit.stages.base import Tools
from optikit.stages.evaluate import STAGE
from tests.unit.stages.publish_case import Case, plan

GOOD = [1.0, 1.0, 1.0, 0.0] * 500
BAD = [1.0, 0.0, 0.0, 0.0] * 500
UNSURE = [1.0, 1.0, 1.0, 0.0] * 440 + [0.0, 1.0, 1.0, 1.0] * 60


@dataclass
class Engine:
    """Serves every model but those whose path is named."""

    refused: dict[str, Exception] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)

    def version(self) -> str:
        return "1.0"

    def packages(self) -> dict[str, str]:
        return {"torch": "2"}

    @contextmanager
    def serve(self, model: Path, *_: Any, **__: Any) -> Iterator[Any]:
        self.served.append(str(model))
        if str(model) in self.refused:
            raise self.refused[str(model)]
        yield SimpleNamespace(endpoint=str(model))


class Evaluator:
    """Scores by model path."""

    def __init__(self, scores: dict[str, list[float]]) -> None:
        self.scores = scores

    def identity(self, tasks: Sequence[str], permit: Any = None) -> str:
        return "these tasks"

    def score(self, endpoint: Any, *_: Any, **__: Any) -> tuple[ItemScores, ...]:
        return (ItemScores(task="t", metric="acc", scores=tuple(self.scores[endpoint])),)


class Meter:
    """Log-probabilities that a model's path shifts."""

    def __init__(self, shift: dict[str, float]) -> None:
        self.shift = shift
        self.saved: dict[Path, tuple[DocumentLogprobs, ...]] = {}

    def texts(self) -> tuple[str, ...]:
        return tuple(f"text {number}" for number in range(20))

    def tokenize(
        self, tokenizer: Path, texts: Sequence[str], *, max_tokens: int, code: bool = False
    ) -> TokenizedTexts:
        return TokenizedTexts(tuple((1, 2, 3, number) for number, _ in enumerate(texts)), 0, 0)

    def measure(
        self, endpoint: Any, documents: Sequence[Sequence[int]], *, top_k: int
    ) -> tuple[DocumentLogprobs, ...]:
        base = np.log(np.linspace(2.0, 1.0, top_k) / np.linspace(2.0, 1.0, top_k).sum())
        top = base + self.shift[endpoint] * np.linspace(0, 1, top_k)
        top = top - np.log(np.exp(top).sum())
        return tuple(
            DocumentLogprobs(
                tokens=np.array(ids, np.int32),
                actual=np.full(len(ids) - 1, top[0], np.float32),
                top_ids=np.tile(np.arange(top_k, dtype=np.int32), (len(ids) - 1, 1)),
                top=np.tile(top.astype(np.float32), (len(ids) - 1, 1)),
            )
            for ids in documents
        )

    def save(self, path: Path, documents: tuple[DocumentLogprobs, ...]) -> None:
        path.write_bytes(b"")
        self.saved[path] = documents

    def load(self, path: Path) -> tuple[DocumentLogprobs, ...]:
        return self.saved[path]


class Journal:
    """Folders and events."""

    def __init__(self, root: Path) -> None:
        self.root, self.events = root, []  # type: ignore[var-annotated]

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append((kind, facts))

    def remaining_s(self) -> float:
        return 1e6

    def folder(self, *parts: str) -> Path:
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def notes(self) -> str:
        return "\n".join(facts["text"] for kind, facts in self.events if kind == "note")


def run(
    case: Case,
    tmp_path: Path,
    scores: list[float],
    engine: Engine | None = None,
    meter: Meter | None = None,
    **quality: Any,
) -> Any:
    """The stage's record; without a meter no divergence is asked for."""
    asked = {"divergence_documents": 20 if meter else 0, **quality}
    case.plan = plan(quality=asked).model_copy(update={"left_out": case.plan.left_out})
    tools: Tools = replace(
        case.tools,
        journal=cast(Any, Journal(tmp_path / "job")),
        engine=cast(Any, engine or Engine()),
        evaluator=cast(Any, Evaluator({case.fetched.path: GOOD, case.compressed.path: scores})),
        logprobs=cast(Any, meter),
    )
    case.tools = tools
    return STAGE.run(tools, case.inputs, case.plan, "digest")


@pytest.mark.parametrize(
    ("scores", "verdict", "chosen"),
    [(GOOD, "kept", "c0"), (BAD, "lost", None), (UNSURE, "cannot tell", "c0")],
)
def test_the_gate_chooses_by_the_verdict(
    case: Case, tmp_path: Path, scores: list[float], verdict: str, chosen: str | None
) -> None:
    record = run(case, tmp_path, scores)
    assert record.verdicts[0].verdict == verdict
    assert record.chosen == chosen
    kept = tmp_path / "job/quality/c0/scores/items-1.jsonl"
    assert ItemScores.model_validate_json(kept.read_text()).scores == tuple(scores)
    assert record.verdicts[0].divergence is None


def test_a_candidate_without_kernel_is_unsupported(case: Case, tmp_path: Path) -> None:
    engine = Engine({case.compressed.path: NoKernel("no kernel for this scheme")})
    record = run(case, tmp_path, GOOD, engine)
    assert record.verdicts[0].verdict == "unsupported"
    assert "no kernel" in record.verdicts[0].reason
    assert record.chosen is None
    assert engine.served.count(case.compressed.path) == 1  # another try would be vain


def test_a_candidate_that_does_not_start_for_another_reason_failed(
    case: Case, tmp_path: Path
) -> None:
    engine = Engine({case.compressed.path: EngineStartFailed("out of memory")})
    record = run(case, tmp_path, GOOD, engine)
    assert (record.verdicts[0].verdict, record.chosen) == ("failed", None)
    assert engine.served.count(case.compressed.path) == 2


def test_the_job_goes_on_with_the_candidate_that_can(case: Case, tmp_path: Path) -> None:
    (made,) = cast(Any, case.inputs.compress).candidates
    broken = made.model_copy(update={"id": "c1", "model": None, "error": "no memory"})
    several = CompressRecord(inputs_digest="d", candidates=(broken, made))
    case.inputs = replace(case.inputs, compress=several)
    case.plan = case.plan.model_copy(update={"left_out": {"int_w4a16": "no kernel on cpu"}})
    record = run(case, tmp_path, GOOD)
    assert [(v.candidate_id, v.verdict) for v in record.verdicts] == [
        ("int_w4a16", "unsupported"),
        ("c1", "failed"),
        ("c0", "kept"),
    ]
    assert record.chosen == "c0"
    assert "no memory" in record.verdicts[1].reason
    assert "candidate c0 goes on" in cast(Any, case.tools.journal).notes()


def test_a_baseline_that_cannot_be_served_is_an_error(case: Case, tmp_path: Path) -> None:
    with pytest.raises(EngineStartFailed):
        run(case, tmp_path, GOOD, Engine({case.fetched.path: EngineStartFailed("no")}))


def test_without_candidates_the_baseline_is_only_scored(case: Case, tmp_path: Path) -> None:
    case.inputs = replace(case.inputs, compress=CompressRecord(inputs_digest="d", candidates=()))
    record = run(case, tmp_path, GOOD)
    assert record.verdicts == ()
    scores = tmp_path / "job/quality/baseline/scores"
    assert [file.name for file in sorted(scores.iterdir())] == [
        f"items-{number}.jsonl" for number in (1, 2, 3)
    ]


def test_the_baseline_is_scored_once_for_all_jobs_that_ask_the_same(
    case: Case, tmp_path: Path
) -> None:
    first, second, third = Engine(), Engine(), Engine()
    told = run(case, tmp_path / "1", GOOD, first)
    again = run(case, tmp_path / "2", GOOD, second)
    assert first.served == [case.fetched.path, case.compressed.path]
    assert second.served == [case.compressed.path]
    assert told.verdicts == again.verdicts
    assert "known from an earlier job" in cast(Any, case.tools.journal).notes()
    run(case, tmp_path / "3", GOOD, third, limit=3)
    assert case.fetched.path in third.served


@pytest.mark.parametrize("part", ["identity", "packages", "version", "texts"])
def test_what_the_scores_depend_on_is_scored_anew(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    meter = Meter({case.fetched.path: 0.0, case.compressed.path: 0.4})
    run(case, tmp_path / "1", GOOD, meter=meter)
    again = Engine()
    if part == "identity":
        monkeypatch.setattr(Evaluator, part, lambda self, tasks, permit: "other tasks")
    elif part == "texts":
        monkeypatch.setattr(Meter, "texts", lambda self: tuple(f"other {n}" for n in range(19)))
    else:
        monkeypatch.setattr(
            Engine, part, lambda self: {"torch": "3"} if part == "packages" else "2"
        )
    run(case, tmp_path / "2", GOOD, again, meter=meter)
    assert case.fetched.path in again.served


def test_a_strangers_failure_of_one_candidate_is_a_verdict(case: Case, tmp_path: Path) -> None:
    engine = Engine({case.compressed.path: OptikitError("score failed: KeyError: 'x'")})
    record = run(case, tmp_path, GOOD, engine)
    assert (record.verdicts[0].verdict, record.chosen) == ("failed", None)


def test_divergence_stands_beside_the_scores_with_the_engines_own_noise(
    case: Case, tmp_path: Path
) -> None:
    meter = Meter({case.fetched.path: 0.0, case.compressed.path: 0.4})
    (verdict,) = run(case, tmp_path, GOOD, meter=meter).verdicts
    found = verdict.divergence
    assert (found.documents, found.tokens) == (20, 60)
    assert found.kl.value > 0.001
    assert found.noise_kl == pytest.approx(0.0, abs=1e-9)
    assert "KL" in cast(Any, case.tools.journal).notes()
