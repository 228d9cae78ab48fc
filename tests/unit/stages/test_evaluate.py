"""The quality gate's choice, with an engine and an evaluator that only answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from optikit.errors import EngineStartFailed
from optikit.spec.record import CompressRecord, ItemScores
from optikit.stages.base import Tools
from optikit.stages.evaluate import STAGE
from tests.unit.stages.publish_case import Case

GOOD = [1.0, 1.0, 1.0, 0.0] * 300


class Engine:
    """Serves every model but those whose path is named."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused

    @contextmanager
    def serve(self, model: Path, *_: Any, **__: Any) -> Iterator[Any]:
        if str(model) == self.refused:
            raise EngineStartFailed("no kernel for this scheme")
        yield SimpleNamespace(endpoint=str(model))


class Evaluator:
    """Scores by model path."""

    def __init__(self, scores: dict[str, list[float]]) -> None:
        self.scores = scores

    def score(self, endpoint: Any, *_: Any, **__: Any) -> tuple[ItemScores, ...]:
        return (ItemScores(task="t", metric="acc", scores=tuple(self.scores[endpoint])),)


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


def run(case: Case, tmp_path: Path, scores: list[float], refused: str = "") -> Any:
    tools: Tools = replace(
        case.tools,
        journal=cast(Any, Journal(tmp_path / "job")),
        engine=cast(Any, Engine(refused)),
        evaluator=cast(Any, Evaluator({case.fetched.path: GOOD, case.compressed.path: scores})),
    )
    return STAGE.run(tools, case.inputs, case.plan, "digest")


@pytest.mark.parametrize(
    ("scores", "verdict", "chosen"),
    [
        (GOOD, "kept", "c0"),
        ([1.0, 0.0, 0.0, 0.0] * 300, "lost", None),
        ([1.0, 1.0, 1.0, 0.0] * 290 + [0.0, 1.0, 1.0, 1.0] * 10, "cannot tell", "c0"),
    ],
)
def test_the_gate_chooses_by_the_verdict(
    case: Case, tmp_path: Path, scores: list[float], verdict: str, chosen: str | None
) -> None:
    record = run(case, tmp_path, scores)
    assert record.verdicts[0].verdict == verdict
    assert record.chosen == chosen
    kept = tmp_path / "job/quality/c0/items.jsonl"
    assert ItemScores.model_validate_json(kept.read_text()).scores == tuple(scores)


def test_a_candidate_the_engine_cannot_serve_is_a_verdict(case: Case, tmp_path: Path) -> None:
    record = run(case, tmp_path, GOOD, refused=case.compressed.path)
    assert record.verdicts[0].verdict == "unsupported"
    assert "no kernel" in record.verdicts[0].reason
    assert record.chosen is None


def test_a_baseline_that_cannot_be_served_is_an_error(case: Case, tmp_path: Path) -> None:
    with pytest.raises(EngineStartFailed):
        run(case, tmp_path, GOOD, refused=case.fetched.path)


def test_without_candidates_the_baseline_is_only_scored(case: Case, tmp_path: Path) -> None:
    case.inputs = replace(case.inputs, compress=CompressRecord(inputs_digest="d", candidates=()))
    record = run(case, tmp_path, GOOD)
    assert record.verdicts == ()
    assert (tmp_path / "job/quality/baseline/items.jsonl").exists()
