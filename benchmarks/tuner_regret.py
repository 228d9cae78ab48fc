"""How many trials, and how many GPU-hours, does a sampler need? On simulated devices.

    python benchmarks/tuner_regret.py [--quick] [--seeds N] [--only CASE,...] [--truth]

The talk's four workloads in bf16 and fp8 on eight H100s and eight H200s: 126 to 168 legal
configurations each, whose true rates are in tuner_truths.json (``--truth`` derives them anew).
A trial's rate has 4 % noise, its latencies without queueing 1 %. It costs its devices times

    start-up (60 s, and a device's weights at 2 GB/s) + 20 requests one at a time
    + 3000 requests at the true rate where one holds (at most an hour) + 5 s.

So what holds no rate is cheap and what barely holds one is dear. ``regret_at_N``: what the true
rate per device of the best one measured in N trials lacks of the exhaustive optimum (1: none held a
rate); ``shipped_at_12`` the same where the best three are measured twice more, as the finalists of
a job are. ``vs_tpe30``: GPU-hours of 12 trials over those of 30 trials of tpe, as the talk ran it.

``clean``: the prior knows the device as it is. ``miscalibrated``: each term of a step in the prior
(compute, bandwidth, attention, constants, all-reduce) is off by a hidden factor of up to 1.5.
``raced`` prunes: what does not hold the best rate so far costs 500 requests there instead of 3000,
and only a bound is told. Beside it: the worst case against random at equal GPU-hours.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

import numpy as np
from numpy.typing import NDArray

from benchmarks._tuner_cases import TUNER_CASES, Factors, Facts, TunerCase, truths, write_truths
from benchmarks._workloads import each, report, where
from optikit.core.predict import TEARDOWN_S, Predictor, search_s
from optikit.core.space import Point, PointKey, key_of
from optikit.tuners import TUNERS
from optikit.tuners.base import Outcome

SEEDS, QUICK_SEEDS = 20, 2
TRIALS, RANDOM_TRIALS = 30, 90
AT = (8, 12, 30)
SHIPPED_AT, FINALISTS, FINALIST_RUNS = 12, 3, 2
EQUAL_AT = (4, 8, 12, 20, 30)
"""After so many trials a sampler is held against random at equal GPU-hours."""
SAMPLERS = ("random", "tpe", "tpe_warm", "gp_prior", "gp_prior raced")
CALIBRATIONS = ("clean", "miscalibrated")
RATE_NOISE, LATENCY_NOISE = 0.04, 0.01
LEAST_ERROR = 0.003
"""Of a mean regret: the true rates themselves are known to within 0.3 %."""
RACE_REQUESTS, RACE_SLACK, MOST_EXCESS = 500, 0.05, 9.0
BARS = "gp_prior, miscalibrated: regret_at_12 <= 0.02 at vs_tpe30 <= 0.40 (aim: 8 trials, 0.33)"

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """All samplers on one case with one seed."""

    case: TunerCase
    seed: int
    samplers: tuple[str, ...] = SAMPLERS


@dataclass(frozen=True)
class Course:
    """Of one search, after each trial: regret and GPU-hours so far, shape ``(trials,)``."""

    regret: Vector
    hours: Vector
    shipped: float
    """Regret after 12 trials and finalists."""

    def at(self, trials: int) -> tuple[float, float]:
        """After so many trials, or after the last where there were fewer."""
        index = min(trials, len(self.regret)) - 1
        return float(self.regret[index]), float(self.hours[index])

    def within(self, hours: float) -> float:
        """Regret of what ended within so many GPU-hours."""
        done = int(np.searchsorted(self.hours, hours, side="right"))
        return float(self.regret[done - 1]) if done else 1.0


class Bench:
    """Trials of one case with one seed: the same figures for every sampler."""

    def __init__(self, case: TunerCase, table: dict[PointKey, Facts], seed: int) -> None:
        self.case, self._table, self._seed = case, table, seed
        rates = {key: facts.rate_rps / self._devices(dict(key)) for key, facts in table.items()}
        self.rates, self.optimum = rates, max(rates.values())
        self._places = {key: place for place, key in enumerate(table)}

    def _devices(self, point: Point) -> int:
        return int(point["tensor_parallel"])

    def trial(self, point: Point, must_beat: float = 0.0) -> tuple[Outcome, float]:
        """What a sampler is told, and the GPU-seconds it cost.

        Args:
            must_beat: rate per device below which it is pruned; 0: no race.
        """
        key = key_of(point)
        facts, devices = self._table[key], self._devices(point)
        chance = np.random.default_rng([self._seed, self._places[key]])
        noise = np.exp(chance.normal(0, [RATE_NOISE, *[LATENCY_NOISE] * 3])).tolist()
        start_s = self.case.start_s(self.case.space.serving(point)) + TEARDOWN_S
        seen: dict[str, Any] = {
            "margin": facts.margin + math.log(noise[1]) if self.case.work.slo else None,
            "ttft_ms": facts.ttft_ms * noise[2],
            "tpot_ms": facts.tpot_ms * noise[3],
        }
        rate = self.rates[key] * noise[0]
        cost = devices * (start_s + search_s(facts.rate_rps, facts.e2e_ms))
        if rate <= 0:
            return Outcome(-min(math.exp(-seen["margin"]) - 1, 10.0), cost_s=cost, **seen), cost
        if rate >= must_beat * (1 - RACE_SLACK):
            return Outcome(rate, rate_per_device=rate, cost_s=cost, **seen), cost
        alone = search_s(0.0, facts.e2e_ms)
        cost = devices * (start_s + alone + RACE_REQUESTS / (must_beat * devices))
        # the share over a limit grows steeply with the load; as core/racing.py tells it
        excess = min((must_beat / rate) ** 4 - 1, MOST_EXCESS)
        bound = must_beat / math.sqrt(1 + excess)
        return Outcome(bound, "pruned", cost_s=cost, **seen), cost

    def shipped(self, rates: dict[PointKey, float]) -> float:
        """Regret of the best of three finalists by the mean of three runs.

        Args:
            rates: measured per device.
        """
        top = sorted(rates, key=lambda key: -rates[key])[:FINALISTS]
        means = {}
        for key in top:
            chance = np.random.default_rng([self._seed, self._places[key], 1])
            again = self.rates[key] * np.exp(chance.normal(0, RATE_NOISE, size=FINALIST_RUNS))
            means[key] = (rates[key] + float(again.sum())) / (1 + FINALIST_RUNS)
        return 1 - self.rates[max(means, key=lambda k: means[k])] / self.optimum if means else 1.0


def search(bench: Bench, sampler: str, prior: Predictor, seed: int, trials: int) -> Course:
    """One whole search, one trial after the other."""
    tuner, race = TUNERS.load(sampler.split()[0]), sampler.endswith("raced")
    regret, hours, best, spent, true = [], [], 0.0, 0.0, 0.0
    measured: dict[PointKey, float] = {}
    shipped = 1.0
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        study = tuner.start(bench.case.space, seed, Path(folder), prior=prior)
        for _ in range(trials):
            point = study.ask()
            if point is None:
                break
            outcome, cost = bench.trial(point, best if race else 0.0)
            prior.learn(point, outcome)  # as the tune stage does
            study.tell(point, outcome)
            spent += cost / 3600
            rate = outcome.rate_per_device
            if rate is not None:
                measured[key_of(point)] = rate
                if rate > best:
                    best, true = rate, bench.rates[key_of(point)]
            regret.append(1 - true / bench.optimum)
            hours.append(spent)
            if len(hours) == SHIPPED_AT:
                shipped = bench.shipped(measured)
    return Course(np.array(regret), np.array(hours), shipped)


def _memory() -> str | None:
    """Where the databases of thousands of searches do no disk harm."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@cache
def _clean(name: str) -> Predictor:
    """One a process: its simulations serve every seed."""
    return next(case for case in TUNER_CASES if case.name == name).predictor()


def run(task: Task) -> dict[str, dict[str, Course]]:
    """Courses by calibration and sampler."""
    bench = Bench(task.case, truths()[task.case.name], task.seed)
    found: dict[str, dict[str, Course]] = {}
    for calibration in CALIBRATIONS:
        if calibration == "clean":
            prior = _clean(task.case.name)
        else:
            prior = task.case.predictor(Factors.drawn(task.seed))
        courses: dict[str, Course] = {}
        for sampler in task.samplers:
            if found and not TUNERS.load(sampler.split()[0]).needs_prior:
                courses[sampler] = found["clean"][sampler]  # it knows of no prior
                continue
            count = RANDOM_TRIALS if sampler == "random" else TRIALS
            courses[sampler] = search(bench, sampler, prior.anew(), task.seed, count)
        found[calibration] = courses
    return found


# ---- the tables


def summarize(courses: dict[str, list[Course]]) -> dict[str, dict[str, float]]:
    """Means over cases and seeds, a row a sampler."""
    rows: dict[str, dict[str, float]] = {}
    talk = float(np.mean([c.at(30)[1] for c in courses["tpe"]])) if "tpe" in courses else math.nan
    for sampler, found in courses.items():
        row = {f"regret_at_{n}": float(np.mean([c.at(n)[0] for c in found])) for n in AT}
        row["shipped_at_12"] = float(np.mean([c.shipped for c in found]))
        for n in AT:
            row[f"gpu_hours_at_{n}"] = float(np.mean([c.at(n)[1] for c in found]))
        row["vs_tpe30"] = row["gpu_hours_at_12"] / talk
        row["vs_tpe30_at_8"] = row["gpu_hours_at_8"] / talk
        rows[sampler] = row
    return rows


def against_random(ours: Sequence[Course], random: Sequence[Course]) -> float:
    """By how many standard errors the sampler is worse at equal GPU-hours, at its worst moment."""
    worst = -math.inf
    for trials in EQUAL_AT:
        pairs = [(own.at(trials), other) for own, other in zip(ours, random, strict=True)]
        gaps = np.array([regret - other.within(hours) for (regret, hours), other in pairs])
        error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
        worst = max(worst, float(gaps.mean()) / max(error, LEAST_ERROR))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds, 5 cases")
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--only", default="", help="cases, separated by commas")
    parser.add_argument("--samplers", default="", help="separated by commas")
    parser.add_argument("--truth", action="store_true", help="derive tuner_truths.json and stop")
    args = parser.parse_args()
    if args.truth:
        write_truths(each)
        return
    began = time.monotonic()
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    cases = [c for c in TUNER_CASES if not args.only or c.name in args.only.split(",")]
    cases = cases[1::3] if args.quick else cases
    samplers = tuple(s for s in SAMPLERS if not args.samplers or s in args.samplers.split(","))
    tasks = [Task(case, seed, samplers) for case in cases for seed in range(seeds)]
    found = each(run, tasks)
    print(f"Tuning on simulated devices, {len(cases)} cases x {seeds} seeds; {where()}")
    summary: dict[str, Any] = {}
    for calibration in CALIBRATIONS:
        summary[calibration] = _tables(
            calibration, samplers, tasks, [f[calibration] for f in found]
        )
    print(BARS)
    print(f"{time.monotonic() - began:.0f} s{', --quick: too few seeds to judge by' * args.quick}")
    print(json.dumps(summary))


def _tables(
    calibration: str,
    samplers: Sequence[str],
    tasks: Sequence[Task],
    found: Sequence[dict[str, Course]],
) -> dict[str, Any]:
    """Print the tables of one calibration; what of them goes into the JSON."""
    rows = summarize({sampler: [courses[sampler] for courses in found] for sampler in samplers})
    print(f"\nprior {calibration}: mean over all cases and seeds")
    shown: list[dict[str, Any]] = [{"sampler": s, **row} for s, row in rows.items()]
    report(shown, tuple(shown[0]))
    names = list(dict.fromkeys(task.case.name for task in tasks))
    by_case: dict[str, Callable[[str], list[Course]]] = {
        name: lambda sampler, name=name: [  # type: ignore[misc]
            courses[sampler]
            for task, courses in zip(tasks, found, strict=True)
            if task.case.name == name
        ]
        for name in names
    }
    lines, worst = [], {}
    informed = [s for s in samplers if TUNERS.load(s.split()[0]).needs_prior]
    for name, of in by_case.items():
        line: dict[str, Any] = {"case": name}
        for sampler in samplers:
            line[sampler] = float(np.mean([c.at(12)[0] for c in of(sampler)]))
        for sampler in informed if "random" in samplers else []:
            line[f"{sampler} - random"] = against_random(of(sampler), of("random"))
        lines.append(line)
    if "random" in samplers:
        worst = {s: max(line[f"{s} - random"] for line in lines) for s in informed}
    print(
        f"\nprior {calibration}: mean regret after 12 trials by case; '- random': standard errors "
        "worse than random at equal GPU-hours, at the worst moment (bar: 2)"
    )
    report(lines, tuple(lines[0]))
    return {"samplers": rows, "worse_than_random_se": worst, "cases": len(names)}


if __name__ == "__main__":
    main()
