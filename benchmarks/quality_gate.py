"""Is the quality verdict right as often as it says, and at how many items?

    python benchmarks/quality_gate.py [--quick] [--runs N]

Simulated answers with the pairing of real ones. An item's difficulty against the model's ability
(normal-ogive item response: Lord 1952) decides right or wrong; compression and the engine's
rounding move that balance a little, item by item, so answers near it flip in both directions.
Dutta et al. 2024 (arXiv:2407.09141) report such flips under compression at nearly equal accuracy.
The shares of flips here, 2 to 10 %, span the values used for planning paired
comparisons of quantized models (5 and 10 %: Zhuang et al. 2026, arXiv:2605.28873); they are
inputs, not measurements of ours. The flips' spread is set so that a model without loss flips that
share and keeps its accuracy exactly; a planted loss lowers its accuracy by 3 points on top.

Each run of the second table: a first sample of 300 items; the verdict says how many would tell; a
fresh sample of that size is judged. Beside it the same question for two independent standard
errors, as most tables print them, and their verdict at our number of items.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from benchmarks._workloads import report, where
from optikit.core.quality import compare
from optikit.core.quality_size import items_needed_unpaired
from optikit.spec.quality import ItemScores, QualityVerdict, TaskScore

RUNS, QUICK_RUNS, SEED = 1000, 100, 4
MARGIN, LOSS, FIRST = 0.01, 0.03, 300
BARS = {"identical_called_lost": 0.05, "power_3_points": 0.80, "too_small_cannot_tell": 0.90}
# 300 items are right by luck now and then: the candidate wins some flips, and is called kept
Answers = NDArray[np.bool_]


def both_right(accuracy: float, other: float, correlation: float) -> float:
    """Probability that two models of these accuracies are right on the same item."""
    x = np.linspace(-9.0, float(ndtri(accuracy)), 8001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    rest = (ndtri(other) - correlation * x) / math.sqrt(1 - correlation**2)
    return float(np.trapezoid(density * ndtr(rest), x))


@cache
def noise_of(accuracy: float, flips: float) -> float:
    """Deviation, in deviations of the items, whose two draws differ on a share of items.

    One draw against the undisturbed model; 0 for no flips.
    """
    if flips == 0:
        return 0.0
    low, high = 0.0, 1.0 - 1e-9  # correlation of the disturbed balance with the undisturbed
    for _ in range(60):
        middle = (low + high) / 2
        differ = 2 * (accuracy - both_right(accuracy, accuracy, middle))
        low, high = (middle, high) if differ > flips else (low, middle)
    return math.sqrt(1 / low**2 - 1)


@dataclass(frozen=True)
class Model:
    """A baseline and what is done to it.

    ``flips``: share of items that compression changes without loss; ``unsteady``: share that
    changes between two runs of one model; ``shift``: deviation of a run's accuracy by what moves
    all its items.
    """

    accuracy: float
    flips: float = 0.0
    loss: float = 0.0
    unsteady: float = 0.0
    shift: float = 0.0

    def answers(self, draw: np.random.Generator, items: int, runs: int) -> tuple[Answers, Answers]:
        """Right or wrong: the baseline ``(runs, items)`` and the candidate ``(items,)``."""
        compressed = noise_of(self.accuracy, self.flips)
        # two runs correlate by 1 / (1 + e^2), one with the undisturbed model by the root of it
        own = noise_of(self.accuracy, self.unsteady)
        engine = math.sqrt(math.hypot(1.0, own) - 1.0)
        item = draw.standard_normal(items, dtype=np.float32)
        limit = float(ndtri(self.accuracy))
        slope = math.exp(-limit * limit / 2) / math.sqrt(2 * math.pi)

        def run(change: float, accuracy: float) -> Answers:
            balance, variance = item, 1.0
            for spread in (change, engine):
                if spread:
                    balance = balance + spread * draw.standard_normal(items, dtype=np.float32)
                    variance += spread**2
            all_items = self.shift / slope * draw.standard_normal() if self.shift else 0.0
            right: Answers = balance < (float(ndtri(accuracy)) + all_items) * math.sqrt(variance)
            return right

        baseline = np.stack([run(0.0, self.accuracy) for _ in range(runs)])
        return baseline, run(compressed, self.accuracy - self.loss)


def judge(
    model: Model, draw: np.random.Generator, items: int, runs: int = 1, tasks: int = 1
) -> QualityVerdict:
    """The product's verdict on one draw."""
    baseline: list[list[ItemScores]] = [[] for _ in range(runs)]
    candidate: list[ItemScores] = []
    for task in range(tasks):
        ours, theirs = model.answers(draw, items, runs)
        for kept, one in zip((*baseline, candidate), (*ours, theirs), strict=True):
            scores = tuple(one.astype(float).tolist())
            kept.append(ItemScores(task=f"t{task}", metric="acc", scores=scores))
    return compare(baseline, candidate, MARGIN, "c")


def unpaired(score: TaskScore) -> str:
    """The verdict of two independent standard errors: a two-sided 95 % interval, as ours."""
    beyond = score.baseline - score.candidate - MARGIN * score.baseline
    half = 1.959964 * math.hypot(score.baseline_stderr, score.candidate_stderr)
    return "lost" if beyond - half > 0 else "kept" if beyond + half < 0 else "cannot tell"


IDENTICAL: tuple[tuple[Model, int, int, int], ...] = (
    # model, runs of the baseline, tasks, items
    (Model(0.75), 1, 1, 1000),
    *(
        (Model(0.75, unsteady=unsteady), runs, 1, items)
        for unsteady in (0.02, 0.05)
        for runs in (1, 2, 3)
        for items in (200, 2000)
    ),
    (Model(0.75, unsteady=0.05), 1, 3, 1000),
    (Model(0.75, unsteady=0.05), 3, 3, 1000),
    (Model(0.4, unsteady=0.05), 1, 1, 2000),
    (Model(0.95, unsteady=0.02), 1, 1, 2000),
    *(
        (Model(0.75, unsteady=0.02, shift=0.01), runs, tasks, 2000)
        for runs, tasks in ((1, 1), (2, 1), (3, 1), (3, 3))
    ),
)


def identical(runs: int) -> list[dict[str, Any]]:
    """One model against itself: how often is it called lost?"""
    rows = []
    for number, (model, again, tasks, items) in enumerate(IDENTICAL):
        draw = np.random.default_rng((SEED, 1, number))
        words = Counter(judge(model, draw, items, again, tasks).verdict for _ in range(runs))
        rows.append(
            {
                "accuracy": model.accuracy,
                "unsteady": model.unsteady,
                "run_shift": model.shift,
                "runs": again,
                "tasks": tasks,
                "items": items,
                **{word: words[word] / runs for word in ("lost", "cannot tell", "kept")},
                "guarded": not (model.shift and again == 1),
            }
        )
    return rows


REFERENCE = (Model(0.75, 0.05), 1)
CELLS: tuple[tuple[Model, int], ...] = (
    # model without loss, runs of the baseline
    *((Model(accuracy, flips), 1) for accuracy in (0.5, 0.75, 0.9) for flips in (0.02, 0.05, 0.1)),
    *(
        (Model(0.75, 0.05, unsteady=unsteady), runs)
        for unsteady in (0.02, 0.05)
        for runs in (1, 2, 3)
    ),
)


def cell(model: Model, again: int, runs: int, number: int) -> dict[str, Any]:
    """A model without loss and one that lost 3 points, each at the size its verdict asked for."""
    draw = np.random.default_rng((SEED, 2, number))
    found: dict[str, list[str]] = {}
    peers: dict[str, list[str]] = {}
    first: dict[str, list[str]] = {}
    sizes: list[int] = []
    for name, loss in (("same", 0.0), ("worse", LOSS)):
        compressed = replace(model, loss=loss)
        first[name], found[name], peers[name] = [], [], []
        for _ in range(runs):
            small = judge(compressed, draw, FIRST, again)
            first[name].append(small.verdict)
            items = small.tasks[0].items_needed
            if items is None:  # told already
                continue
            verdict = judge(compressed, draw, items, again)
            found[name].append(verdict.verdict)
            peers[name].append(unpaired(verdict.tasks[0]))
            if name == "same":
                sizes.append(items)
    one = model.accuracy * (1 - model.accuracy)
    alone = items_needed_unpaired(model.accuracy, one * (1 + (1 - MARGIN) ** 2), MARGIN)
    needed = int(np.median(sizes))
    assert alone is not None
    return {
        "accuracy": model.accuracy,
        "flips": model.flips,
        "unsteady": model.unsteady,
        "runs": again,
        "too_small": share(first["same"], "cannot tell"),
        "items": needed,
        "lost_3_points": share(found["worse"], "lost"),
        "kept_no_loss": share(found["same"], "kept"),
        "lost_no_loss": share(found["same"], "lost"),
        "unpaired_items": alone,
        "ratio": alone / needed,
        "unpaired_lost": share(peers["worse"], "lost"),
        "unpaired_kept": share(peers["same"], "kept"),
    }


def share(words: list[str], word: str) -> float:
    return words.count(word) / len(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs a row")
    parser.add_argument("--runs", type=int, default=None, help="runs a row")
    args = parser.parse_args()
    runs = args.runs or (QUICK_RUNS if args.quick else RUNS)
    began = time.monotonic()
    same = identical(runs)
    print(f"A model against itself, margin {MARGIN:.0%}, {runs} runs a row; {where()}")
    report(
        same,
        (
            *("accuracy", "unsteady", "run_shift", "runs", "tasks", "items"),
            *("lost", "cannot tell", "kept", "guarded"),
        ),
    )
    cells = [cell(*each, runs, number) for number, each in enumerate(CELLS)]
    print(f"\nAt the size that the verdict on {FIRST} items asked for; {runs} runs a row")
    report(
        cells,
        (
            *("accuracy", "flips", "unsteady", "runs", "too_small", "items"),
            *("lost_3_points", "kept_no_loss", "lost_no_loss"),
            *("unpaired_items", "ratio", "unpaired_lost", "unpaired_kept"),
        ),
    )
    chosen, paired = cells[CELLS.index(REFERENCE)], [c for c in cells if not c["unsteady"]]
    summary = {
        "benchmark": "quality_gate",
        "simulated": True,
        "runs": runs,
        "identical_called_lost": max(row["lost"] for row in same if row["guarded"]),
        "identical_called_lost_one_run_all_items_shifted": max(
            row["lost"] for row in same if not row["guarded"]
        ),
        "power_3_points": min(c["lost_3_points"] for c in cells),
        "power_kept": min(c["kept_no_loss"] for c in cells),
        "items_needed": chosen["items"],
        "items_needed_unpaired": chosen["unpaired_items"],
        "ratio": round(chosen["ratio"], 2),
        "ratio_smallest": round(min(c["ratio"] for c in paired), 2),
        "ratio_largest": round(max(c["ratio"] for c in paired), 2),
        "too_small_cannot_tell": min(c["too_small"] for c in cells),
        "seconds": round(time.monotonic() - began, 1),
        "where": where(),
    }
    for key, bar in BARS.items():
        found, most = summary[key], key == "identical_called_lost"
        side, word = "<=" if most else ">=", "held"
        if (found > bar) if most else (found < bar):
            word = "MISSED"
        print(f"{key}: {found:.3f}, bar {side} {bar:.2f}: {word}")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
