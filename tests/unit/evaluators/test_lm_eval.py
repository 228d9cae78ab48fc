from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from optikit.errors import BadInput
from optikit.evaluators._task_file import SHIPPED, task_config
from optikit.evaluators.lm_eval import EVALUATOR, _scores


def test_the_shipped_items_are_whole_and_balanced() -> None:
    lines = (SHIPPED / "everyday_facts.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 96
    assert len({row["question"] for row in rows}) == 96
    assert all(len(set(row["choices"])) == 4 for row in rows)
    places = Counter(row["answer"] for row in rows)
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) < 40  # no position gives the answer away


def test_a_shipped_task_has_absolute_data_files() -> None:
    files = task_config("everyday_facts")["dataset_kwargs"]["data_files"]
    assert Path(files["test"]).is_absolute()
    assert Path(files["test"]).is_file()


def test_a_users_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    task = tmp_path / "t.yaml"
    task.write_text("task: t\ndoc_to_text: !function evil.run\n")
    with pytest.raises(BadInput, match="not plain YAML"):
        EVALUATOR.check([str(task)])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("- a", "a mapping of keys"),
        ("a: 1", "no key 'task'"),
        ("task: t\ndataset_kwargs: {data_files: {test: gone.jsonl}}", "gone.jsonl"),
        ("task: t\ndataset_kwargs: {data_files: gone.jsonl}", "gone.jsonl"),
        ("task: t\ndataset_kwargs: {data_files: [a, b]}", "one file name"),
    ],
)
def test_a_users_file_that_is_not_whole(tmp_path: Path, text: str, word: str) -> None:
    task = tmp_path / "t.yaml"
    task.write_text(text)
    with pytest.raises(BadInput, match=word):
        EVALUATOR.check([str(task)])
    with pytest.raises(BadInput, match="cannot read"):
        EVALUATOR.check([str(tmp_path / "none.yaml")])


def test_scores_come_in_the_order_of_the_documents() -> None:
    rows = [{"doc_id": 2, "acc": 0.0}, {"doc_id": 10, "acc": 1.0}, {"doc_id": 1, "acc": 1.0}]
    assert _scores("t", rows).scores == (1.0, 0.0, 1.0)
    twice = [
        {"doc_id": d, "filter": f, "acc": s} for d in (1, 2) for f, s in (("a", 1.0), ("b", 0))
    ]
    assert _scores("t", twice).scores == (1.0, 1.0)  # an item counts once, however often filtered
    assert _scores("t", twice).metric == "acc (a)"
    with pytest.raises(BadInput, match="none of the metrics"):
        _scores("t", [{"doc_id": 0, "bleu": 1.0}])
