"""Starts that fail: how soon are the others of their kind avoided, and what is lost by it?

    python benchmarks/failure_learning.py [--quick] [--seeds N]

1800 configurations; in each scenario a hidden rule with coefficients drawn by the seed forbids
some, and 3 % of all starts fail by bad luck for a random cause. A sampler proposes configurations,
uniformly or by a rough prediction of their rate, and leaves out those that the learner avoids. At
its 8th failure: the share of the forbidden configurations not yet tried that is avoided, the share
of the feasible ones that is rejected, and how often the best feasible one is among these
(``hidden``). The search goes on for 60 trials; a best one that is neither tried nor open at any
time of them is ``lost``. ``regret`` is 1 - rate / best rate after 40 trials. Side by side: nothing
learnt, SCOOT's random forest (arXiv 2408.04323: from 8 trials on, a threshold that rises by .05 a
failure to .75 and falls by .05 after five successes in a row to .25), and core/failures.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np
from numpy.typing import NDArray

from benchmarks._workloads import each, report, where
from optikit.core.failures import FailureModel
from optikit.core.space import Space
from optikit.spec.serving import ServingConfig
from optikit.spec.space import Dimension

SEEDS, QUICK_SEEDS = 20, 1
FAILURES, MOST_TRIALS, SHORT = 8, 150, 40
FURTHER, QUICK_FURTHER = 60, 25
TREES = 50
FLAKY = 0.03
BARS = "after 8 failures: avoided >= 0.80, rejected <= 0.05, no optimum lost"
LEARNERS = ("nothing", "SCOOT's forest", "ours")
SAMPLERS = ("uniform", "by rate")

DIMENSIONS = (
    Dimension(name="tensor_parallel", values=(1, 2, 4, 8), log=True),
    Dimension(name="max_num_seqs", values=(32, 64, 128, 256, 512), log=True),
    Dimension(name="max_num_batched_tokens", values=(2048, 4096, 8192, 16384, 32768), log=True),
    Dimension(name="gpu_memory_utilization", values=(0.85, 0.9, 0.95)),
    Dimension(name="block_size", values=(16, 32, 64), log=True),
    Dimension(name="kv_cache_dtype", values=("auto", "fp8")),
)
SPACE = Space(DIMENSIONS, lambda serving: None, ServingConfig(max_model_len=2048))
POINTS = SPACE.points()
COLUMNS = {
    d.name: np.array([point[d.name] for point in POINTS])
    for d in DIMENSIONS
    if d.name != "kv_cache_dtype"
}
FP8 = np.array([point["kv_cache_dtype"] == "fp8" for point in POINTS])
FEATURES = np.array([SPACE.features(point) for point in POINTS])

Floats = NDArray[np.float64]
Causes = NDArray[np.object_]


# ---- hidden rules


def _above(need: Floats, share: float) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = need > np.quantile(need, 1 - share)
    return found


def _causes(forbidden: NDArray[np.bool_], cause: str = "out of memory") -> Causes:
    found = np.full(len(forbidden), None, dtype=object)
    found[forbidden] = cause
    return found


def _both(first: Causes, second: Causes) -> Causes:
    found = first.copy()
    found[first == None] = second[first == None]  # noqa: E711
    return found


def _peak(chance: np.random.Generator) -> Floats:
    """Activations and logits beyond what the engine foresaw, over the memory left to them."""
    tp, seqs, batched, used = (COLUMNS[d.name] for d in DIMENSIONS[:4])
    one, two, three = np.exp(chance.normal(0, 0.7, size=3))
    need = one * batched / tp / 4096 + two * seqs / 256 + three * batched / 16384
    found: Floats = need / (1.03 - used) ** chance.uniform(0.3, 1.0)
    return found


def rule_sum(chance: np.random.Generator) -> Causes:
    return _causes(_above(_peak(chance), chance.uniform(0.1, 0.35)))


def rule_product(chance: np.random.Generator) -> Causes:
    tp, seqs, batched, _ = (COLUMNS[d.name] for d in DIMENSIONS[:4])
    powers = chance.uniform(0.5, 1.5, size=3)
    need = seqs ** powers[0] * batched ** powers[1] / tp ** powers[2]
    return _causes(_above(need, chance.uniform(0.1, 0.35)))


def rule_cliff(chance: np.random.Generator) -> Causes:
    tp, _, _, used = (COLUMNS[d.name] for d in DIMENSIONS[:4])
    return _causes((used >= 0.95) & (tp <= chance.choice([2, 4, 8])))


def rule_corner(chance: np.random.Generator) -> Causes:
    """Several flags have to be large at once: no sum of products."""
    tp, seqs, batched, _ = (COLUMNS[d.name] for d in DIMENSIONS[:4])
    least = chance.choice([128, 256]), chance.choice([8192, 16384])
    return _causes((seqs >= least[0]) & (batched >= least[1]) & (tp <= chance.choice([2, 4])))


def rule_ragged(chance: np.random.Generator) -> Causes:
    """The limit lies elsewhere for each configuration, by 15 %."""
    need = _peak(chance) * np.exp(chance.normal(0, 0.15, size=len(POINTS)))
    return _causes(_above(need, chance.uniform(0.1, 0.35)))


def rule_room(chance: np.random.Generator) -> Causes:
    """No KV cache is left: a larger share of the memory helps, against the usual sign."""
    tp, seqs, batched, used = (COLUMNS[d.name] for d in DIMENSIONS[:4])
    need = 1 / tp + chance.uniform(0.1, 0.5) * batched / 32768 + 0.1 * seqs / 512
    return _causes(_above(need / (used - 0.7), chance.uniform(0.1, 0.3)))


def rule_block(chance: np.random.Generator) -> Causes:
    """One block size crashes, beside a region without memory."""
    crash = _causes(COLUMNS["block_size"] == chance.choice([16, 32, 64]), "crash")
    return _both(crash, rule_sum(chance))


def rule_kernel(chance: np.random.Generator) -> Causes:
    """An fp8 cache has no kernel, with every block size or with one; beside a product's region."""
    with_block = FP8 & (COLUMNS["block_size"] >= chance.choice([16, 64]))
    return _both(_causes(with_block, "no kernel"), rule_product(chance))


def rule_none(chance: np.random.Generator) -> Causes:
    """Nothing is forbidden: all failures are bad luck."""
    return _causes(np.zeros(len(POINTS), dtype=bool))


RULES: dict[str, Callable[[np.random.Generator], Causes]] = {
    "sum": rule_sum,
    "product": rule_product,
    "cliff": rule_cliff,
    "corner": rule_corner,
    "ragged": rule_ragged,
    "room": rule_room,
    "sum + block size": rule_block,
    "product + kernel": rule_kernel,
    "bad luck alone": rule_none,
}


# ---- learners


class Learner(Protocol):
    def learn(self, index: int, cause: str | None) -> None: ...

    def avoided(self) -> NDArray[np.bool_]: ...


class Nothing:
    def learn(self, index: int, cause: str | None) -> None:
        """Keeps nothing."""

    def avoided(self) -> NDArray[np.bool_]:
        return np.zeros(len(POINTS), dtype=bool)


class Ours:
    def __init__(self) -> None:
        self._model = FailureModel(SPACE)

    def learn(self, index: int, cause: str | None) -> None:
        self._model.learn(POINTS[index], cause)

    def avoided(self) -> NDArray[np.bool_]:
        return self._model.avoided(POINTS)


@dataclass
class Forest:
    """As SCOOT's paper tells it."""

    threshold: float = 0.5
    row: int = 0
    tried: list[int] = field(default_factory=list)
    ran: list[bool] = field(default_factory=list)

    def learn(self, index: int, cause: str | None) -> None:
        self.tried.append(index)
        self.ran.append(cause is None)
        self.row = self.row + 1 if cause is None else 0
        if cause is not None:
            self.threshold = min(0.75, self.threshold + 0.05)
        elif self.row and self.row % 5 == 0:
            self.threshold = max(0.25, self.threshold - 0.05)

    def avoided(self) -> NDArray[np.bool_]:
        if len(self.tried) < 8 or len(set(self.ran)) < 2:
            return np.zeros(len(POINTS), dtype=bool)
        from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

        forest = RandomForestClassifier(n_estimators=TREES, random_state=0)
        forest.fit(FEATURES[self.tried], self.ran)
        found: NDArray[np.bool_] = forest.predict_proba(FEATURES)[:, 1] < self.threshold
        return found


def learner(name: str) -> Learner:
    kinds: dict[str, Callable[[], Learner]] = {
        "nothing": Nothing,
        "SCOOT's forest": Forest,
        "ours": Ours,
    }
    return kinds[name]()


# ---- one search


@dataclass(frozen=True)
class Task:
    rule: str
    sampler: str
    learner: str
    seed: int
    further: int


def _rates(chance: np.random.Generator) -> Floats:
    """Per device: seats and tokens help less and less, devices cost; every flag counts a little."""
    tp, seqs, batched, used = (COLUMNS[d.name] for d in DIMENSIONS[:4])
    weights = chance.uniform(0.05, 0.4, size=4)
    found: Floats = (
        weights[0] * np.log2(seqs / 32) + weights[1] * np.log2(batched / 2048) + used * weights[2]
    )
    found += 0.05 * FP8 - weights[3] * np.log2(tp) + chance.normal(0, 0.01, len(POINTS))
    return found


def run(task: Task) -> dict[str, Any]:
    """One search, to its eighth failure; and the failures among its first 40 trials."""
    # the scenario and the sampler's luck do not depend on the learner
    chance = np.random.default_rng((task.seed, list(RULES).index(task.rule)))
    causes, rates = RULES[task.rule](chance), _rates(chance)
    luck = chance.random(len(POINTS)) < FLAKY
    blame = chance.choice(["out of memory", "crash", "timeout"], size=len(POINTS))
    expected = rates + chance.normal(0, 0.3, len(POINTS))
    order = np.argsort(-expected) if task.sampler == "by rate" else chance.permutation(len(POINTS))
    forbidden = np.array([cause is not None for cause in causes])
    best = int(np.argmax(np.where(forbidden, -np.inf, rates)))
    learning, tried = learner(task.learner), np.zeros(len(POINTS), dtype=bool)
    trials, failures, early, measured = 0, 0, 0, None
    regret, lost = 1.0, 1
    began = time.perf_counter()
    while trials < (MOST_TRIALS if measured is None else measured["trials"] + task.further):
        avoided = learning.avoided()
        if measured is None and failures == FAILURES:
            measured = _measured(forbidden, tried, avoided, best) | {"trials": trials}
        if measured is not None:
            lost &= int(avoided[best] and not tried[best])
        open_yet = order[~(tried | avoided)[order]]
        if not len(open_yet):
            break
        index = int(open_yet[0])
        cause = causes[index] or (str(blame[index]) if luck[index] else None)
        learning.learn(index, cause)
        tried[index] = True
        trials, failures = trials + 1, failures + (cause is not None)
        if trials <= SHORT:
            early += cause is not None
            if cause is None:
                regret = min(regret, 1 - 2 ** float(rates[index] - rates[best]))
    seconds = (time.perf_counter() - began) / trials
    avoided = learning.avoided()
    if measured is None:
        measured = _measured(forbidden, tried, avoided, best) | {"trials": trials}
    return measured | {
        "lost": lost & int(avoided[best] and not tried[best]),
        "regret": regret,
        "early": early,
        "forbidden": float(forbidden.mean()),
        "seconds": seconds,
    }


def _measured(
    forbidden: NDArray[np.bool_], tried: NDArray[np.bool_], avoided: NDArray[np.bool_], best: int
) -> dict[str, Any]:
    left = forbidden & ~tried
    return {
        "avoided": float(avoided[left].mean()) if left.any() else None,
        "rejected": float(avoided[~forbidden].mean()),
        "hidden": int(avoided[best] and not tried[best]),
    }


def summarize(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One learner in one scenario."""
    avoided = [r["avoided"] for r in results if r["avoided"] is not None]
    return {
        "forbidden": float(np.mean([r["forbidden"] for r in results])),
        "avoided": float(np.mean(avoided)) if avoided else None,
        "rejected": float(np.mean([r["rejected"] for r in results])),
        "worst_rejected": float(np.max([r["rejected"] for r in results])),
        "hidden": int(sum(r["hidden"] for r in results)),
        "lost": int(sum(r["lost"] for r in results)),
        "regret": float(np.mean([r["regret"] for r in results])),
        "trials": float(np.mean([r["trials"] for r in results])),
        "failed_of_40": float(np.mean([r["early"] for r in results])),
        "ms_a_trial": 1e3 * float(np.mean([r["seconds"] for r in results])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, and less of it")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--learners", default="", help="names, separated by commas")
    parser.add_argument("--rules", default="", help="scenarios, separated by commas")
    args = parser.parse_args()
    began = time.monotonic()
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    rules = [r for r in RULES if not args.rules or r in args.rules.split(",")]
    learners = [n for n in LEARNERS if not args.learners or n in args.learners.split(",")]
    further = QUICK_FURTHER if args.quick else FURTHER
    tasks = [
        Task(r, s, n, seed, further)
        for r in rules
        for s in SAMPLERS
        for n in learners
        for seed in range(seeds)
    ]
    found = dict(zip(tasks, each(run, tasks), strict=True))
    print(f"{len(POINTS)} configurations, {seeds} seeds; {where()}")
    rows, totals = [], {}
    for name in learners:
        for rule in rules:
            for sampler in SAMPLERS:
                results = [found[Task(rule, sampler, name, seed, further)] for seed in range(seeds)]
                row = {"learner": name, "rule": rule, "sampler": sampler}
                rows.append(row | summarize(results))
        totals[name] = summarize([found[t] for t in tasks if t.learner == name])
        rows.append({"learner": name, "rule": "all", "sampler": "both"} | totals[name])
    keys = (
        *("avoided", "rejected", "worst_rejected", "hidden", "lost"),
        *("regret", "failed_of_40", "trials", "ms_a_trial"),
    )
    report(rows, ("learner", "rule", "sampler", "forbidden", *keys))
    print(f"bars, {BARS}")
    summary = {
        "benchmark": "failure_learning",
        "simulated": True,
        "quick": args.quick,
        "seeds": seeds,
        **{name: {key: totals[name][key] for key in keys} for name in learners},
        "rules": {
            f"{row['rule']} / {row['sampler']}": {key: row[key] for key in keys[:5]}
            for row in rows
            if row["learner"] == "ours" and row["rule"] != "all"
        },
        "wall_s": round(time.monotonic() - began, 1),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
