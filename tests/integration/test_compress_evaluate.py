"""What a recipe wrote, served by the real engine and scored by the real harness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optikit.adapters.hardware import cpu_dtype
from optikit.core.calibration import choose_samples
from optikit.engines.vllm import ENGINE
from optikit.errors import BadInput
from optikit.evaluators.lm_eval import EVALUATOR
from optikit.recipes import RECIPES
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.serving import ServingConfig
from optikit.stores.datasets import read_texts
from tests.models import tiny_llama

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
VOCAB = 512
ITEMS, CONTEXT = 4, 256
SERVING = ServingConfig(
    max_model_len=CONTEXT, max_num_seqs=8, dtype=cpu_dtype(), enforce_eager=True
)


@pytest.fixture(scope="module")
def model() -> Path:
    return tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")


@pytest.fixture(scope="module")
def samples() -> tuple[str, ...]:
    texts = read_texts(ROOT / "examples" / "data" / "calibration").texts
    return choose_samples(texts, 8, seed=0).texts


# the library warns about itself (deprecated calls, an unset pad token); none of it is ours
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("{{ cycler.__init__.__globals__.os.getpid() }}", "cannot be loaded"),
        ("{{ missing_field }}", "cannot be loaded"),
    ],
)
def test_a_task_that_cannot_be_loaded_runs_nothing_and_blames_no_server(
    model: Path, tmp_path: Path, question: str, word: str
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "choices": ["x", "y"], "answer": 0}\n')
    task = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": question,
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(task))
    nobody = Endpoint(base_url="http://127.0.0.1:9", model="m", vocab=VOCAB)
    with pytest.raises(BadInput, match=word):
        EVALUATOR.score(
            nobody, model, [str(tmp_path / "mine.yaml")], context=256, limit=None, work=tmp_path
        )


@pytest.mark.filterwarnings("default")
def test_what_was_compressed_is_served_and_scored(
    model: Path, samples: tuple[str, ...], tmp_path: Path, groups: list[ProcessGroup]
) -> None:
    out = tmp_path / "out"
    RECIPES.load("int_w8a8").compress(model, out, samples, max_tokens=32, seed=0)
    with ENGINE.serve(
        out,
        SERVING,
        "cpu",
        vocab=VOCAB,
        log=tmp_path / "engine.log",
        start_timeout_s=240.0,
        on_start=groups.append,
    ) as server:
        runs = [
            EVALUATOR.score(
                server.endpoint,
                out,
                ["everyday_facts"],
                context=CONTEXT,
                limit=ITEMS,
                work=tmp_path,
            )
            for _ in range(2)
        ]
        server.check()
    (scores,) = runs[0]
    assert (scores.task, scores.metric, len(scores.scores)) == ("everyday_facts", "acc", ITEMS)
    assert set(scores.scores) <= {0.0, 1.0}
    assert runs[0] == runs[1]  # greedy log-likelihoods: the same answer twice
