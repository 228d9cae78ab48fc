"""How many calibration samples hold? Recovery and divergence by sample size, on a real model.

    python benchmarks/calibration_size.py [--quick] [--plot FILE.svg] [--home FOLDER]

SmolLM2-135M, real llm-compressor, real vLLM on this machine's CPU (`make setup` brings all). One
job a sample size, as `optikit submit` runs it; each has a candidate a seed of int_w8a8 and of
int_w4a16, the first one int_w8a8_rtn beside them, which needs no samples. What the engine has no
kernel for here is scored through transformers, with the baseline scored the same way beside it.

The claim under test is the talk's: 256 random samples hold more than 99 % of the quality.

The full run takes about an hour and a half on two cores; with ``--home`` it goes on where an
earlier one was ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run from any folder

import numpy as np
from numpy.typing import NDArray

from benchmarks._jobs import optikit
from benchmarks._workloads import report, where
from optikit.api import Job
from optikit.core.divergence import DocumentLogprobs, diverge
from optikit.core.quality import compare
from optikit.evaluators.divergence import DIVERGENCE
from optikit.spec.quality import Divergence, ItemScores, QualityVerdict
from optikit.spec.record import CompressRecord, EvaluateRecord, FetchRecord
from optikit.stages._score import TOP_K

MODEL = ROOT / ".cache" / "models" / "smollm2-135m"
TASKS = ROOT / "src" / "optikit" / "evaluators" / "_tasks"
SIZES, QUICK_SIZES = (16, 64, 256, 512), (16, 64)
SEEDS, QUICK_SEEDS = 3, 1
CLAIM_SIZE, CLAIM = 256, 0.99
RECIPES = ("int_w8a8", "int_w4a16")
NO_SAMPLES = "int_w8a8_rtn"


class Transformers:
    """Scores a checkpoint without a server: what a kernel would compute, from unpacked weights."""

    def __init__(self, documents: Sequence[NDArray[np.int32]]) -> None:
        self.documents = documents

    def __call__(self, model: Path) -> tuple[ItemScores, tuple[DocumentLogprobs, ...]]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        network = AutoModelForCausalLM.from_pretrained(model, trust_remote_code=False)
        network = network.float().eval()
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        with torch.inference_mode():
            items = [self._right(network, tokenizer, row) for row in _items()]
            documents = tuple(self._document(network, ids) for ids in self.documents)
        return ItemScores(task="everyday_facts", metric="acc", scores=tuple(items)), documents

    def _right(self, network: Any, tokenizer: Any, row: dict[str, Any]) -> float:
        """As lm-evaluation-harness scores a choice: its log-likelihood behind the question."""
        import torch

        context = tokenizer(row["question"])["input_ids"]
        sums = []
        for choice in row["choices"]:
            whole = tokenizer(f"{row['question']} {choice}")["input_ids"]
            logits = network(torch.tensor([whole])).logits[0].log_softmax(-1)
            sums.append(
                sum(float(logits[at - 1, whole[at]]) for at in range(len(context), len(whole)))
            )
        return float(int(np.argmax(sums)) == row["answer"])

    def _document(self, network: Any, ids: NDArray[np.int32]) -> DocumentLogprobs:
        import torch

        tokens = torch.tensor(ids.astype(np.int64))
        logprobs = network(tokens[None]).logits[0, :-1].log_softmax(-1)
        top = logprobs.topk(TOP_K, dim=-1)
        actual = logprobs.gather(1, tokens[1:, None])[:, 0]
        return DocumentLogprobs(
            tokens=ids,
            actual=actual.numpy().astype(np.float32),
            top_ids=top.indices.numpy().astype(np.int32),
            top=top.values.numpy().astype(np.float32),
        )


def _items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TASKS / "everyday_facts.jsonl").read_text().splitlines()]


def submit(home: Path, size: int, seeds: int, first: bool) -> Job:
    """The job of one sample size, run to its end; one that an earlier run ended is used again."""
    spec = {
        "flow": "evaluate",
        "model": {"name": "smollm2-135m", "version": "1"},
        "dataset": {"path": str(home / "text.jsonl")},
        "flow_params": {
            "recipe": [*RECIPES, *((NO_SAMPLES,) if first else ())],
            "num_compression_trials": seeds,
            "calibration_samples": size,
            "calibration_tokens": 256,
        },
        "compute": {"sku": "CPU_2"},
        "quality": {"divergence_text": "shipped", "baseline_runs": 2},
    }
    file, ended = home / f"job-{size}.json", home / f"job-{size}-of-{seeds}.ended"
    if not ended.exists():
        file.write_text(json.dumps(spec))
        said = optikit(home, "submit", str(file), "--json", "--pool", "process")
        ended.write_text(json.loads(said)["id"])
    return Job.open(ended.read_text(), home)


def rows_of(job: Job, size: int) -> Iterator[dict[str, Any]]:
    """One row a candidate."""
    records = job.archive.records()
    made, seen, fetched = records["compress"], records["evaluate"], records["fetch"]
    assert isinstance(made, CompressRecord)
    assert isinstance(seen, EvaluateRecord)
    assert isinstance(fetched, FetchRecord)
    verdicts = {verdict.candidate_id: verdict for verdict in seen.verdicts}
    baseline: tuple[ItemScores, tuple[DocumentLogprobs, ...]] | None = None
    for candidate in made.candidates:
        if candidate.model is None:
            print(f"{candidate.id} was not made: {candidate.error}", file=sys.stderr)
            continue
        verdict, engine = verdicts[candidate.id], "vllm"
        if verdict.verdict == "unsupported":
            engine = "transformers"
            scores = job.archive.root / "quality" / "baseline" / "scores" / "logprobs-1.npz"
            score = Transformers([one.tokens for one in DIVERGENCE.load(scores)])
            baseline = baseline or score(Path(fetched.model.path))
            verdict = _paired(baseline, score(Path(candidate.model.path)), verdict)
        (task,) = verdict.tasks
        divergence = verdict.divergence
        assert divergence is not None
        yield {
            "recipe": candidate.recipe,
            "samples": size if candidate.samples else 0,
            "seed": candidate.seed,
            "engine": engine,
            "verdict": verdict.verdict,
            "recovery": task.recovery,
            "recovery_stderr": task.recovery_stderr,
            "kl": divergence.kl.value,
            "top1": divergence.top1_agreement.value,
            "ppl_ratio": divergence.perplexity_ratio.value,
            "ppl_low": divergence.perplexity_ratio.low,
            "ppl_high": divergence.perplexity_ratio.high,
            "wall_s": candidate.wall_s,
        }


def _paired(
    baseline: tuple[ItemScores, tuple[DocumentLogprobs, ...]],
    candidate: tuple[ItemScores, tuple[DocumentLogprobs, ...]],
    verdict: QualityVerdict,
) -> QualityVerdict:
    found = compare([[baseline[0]]], [candidate[0]], verdict.margin, verdict.candidate_id)
    far: Divergence = diverge(baseline[1], candidate[1], top_k=TOP_K, seed=0)
    return found.model_copy(update={"divergence": far})


def claim(rows: Sequence[dict[str, Any]], recipe: str) -> dict[str, Any]:
    """The talk's claim for one recipe, by the product's own verdict at a margin of 1 %: confirmed
    if every candidate of 256 samples is kept, contradicted if every one is lost."""
    mine = [row for row in rows if row["recipe"] == recipe and row["samples"] == CLAIM_SIZE]
    words = {row["verdict"] for row in mine}
    found = {("kept",): "confirmed", ("lost",): "contradicted"}.get(tuple(words), "cannot tell")
    return {
        "claim": found if mine else "not tested",
        "recovery": float(np.mean([row["recovery"] for row in mine])) if mine else None,
        "lowest": min((row["recovery"] for row in mine), default=None),
    }


def plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Divergence and recovery against the sample size, a line a recipe."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(7, 7), sharex=True)
    for recipe, mark in zip(RECIPES, ("o", "s"), strict=True):
        mine = [row for row in rows if row["recipe"] == recipe]
        sizes = [row["samples"] for row in mine]
        above.plot(sizes, [row["kl"] for row in mine], mark, label=recipe)
        below.plot(sizes, [row["recovery"] for row in mine], mark, label=recipe)
    for row in rows:
        if row["recipe"] == NO_SAMPLES:
            above.axhline(row["kl"], linestyle=":", color="grey", label=NO_SAMPLES)
            below.axhline(row["recovery"], linestyle=":", color="grey", label=NO_SAMPLES)
    below.axhline(CLAIM, linewidth=0.8, color="red", label="99 %")
    above.set(ylabel="KL to the baseline, nats a token", yscale="log", xscale="log")
    below.set(ylabel="recovery on everyday_facts", xlabel="calibration samples")
    below.set_xticks(sorted({row["samples"] for row in rows if row["samples"]}))
    below.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
    above.legend()
    below.legend()
    figure.suptitle("SmolLM2-135M: what more calibration samples buy")
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"sizes {QUICK_SIZES}, one seed")
    parser.add_argument("--plot", type=Path, default=None, help="where to draw the figure (SVG)")
    parser.add_argument(
        "--home", type=Path, default=None, help="keep the jobs here, and use those that ended"
    )
    args = parser.parse_args()
    if not MODEL.is_dir():
        sys.exit(f"{MODEL} is missing: run `make setup` first")
    sizes = QUICK_SIZES if args.quick else SIZES
    began, rows = time.monotonic(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        home = (args.home or Path(folder)).absolute()
        home.mkdir(parents=True, exist_ok=True)
        from scripts.make_calibration import rows as texts

        lines = [json.dumps({"text": text}) for text in texts(2 * max(SIZES))]
        (home / "text.jsonl").write_text("\n".join(lines) + "\n")
        optikit(home, "models", "add", str(MODEL), "--name", "smollm2-135m", "--version", "1")
        for size in sizes:
            job = submit(home, size, QUICK_SEEDS if args.quick else SEEDS, size == sizes[0])
            for row in rows_of(job, size):
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    print(f"SmolLM2-135M, everyday_facts and shipped held-out texts; {where()}")
    columns = ("recipe", "samples", "seed", "engine", "verdict", "recovery", "recovery_stderr")
    report(rows, (*columns, "kl", "top1", "ppl_ratio", "ppl_low", "ppl_high", "wall_s"))
    claims = {recipe: claim(rows, recipe) for recipe in RECIPES}
    for recipe, found in claims.items():
        print(f"{recipe}: that {CLAIM_SIZE} random samples hold > 99 % is {found['claim']}")
    if args.plot:
        plot(rows, args.plot)
    summary = {
        "benchmark": "calibration_size",
        "simulated": False,
        "rows": rows,
        "claims": claims,
        "wall_s": round(time.monotonic() - began, 1),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
