"""Kill anything, lose nothing: seeded faults in whole jobs, and what the jobs make of them.

    python benchmarks/faults.py [--seed N] [--count N] [--only NAME] [--pool P] [--quick]
                                [--at-once N] [--keep FOLDER]

Each case is a job of its own in a home of its own (a tmpfs of 320 MB, filled as far as is needed),
with planted keys in its environment, and one fault or two of a kind at a random moment. Pools:

    process   worker processes; searches on paper (fetch, benchmark, 2 trials, publish: some 15 s),
              and a stand-in server behind the real engine adapter for what goes wrong in engines
    inline    the same searches in the driver itself
    ray       a local Ray a job
    real      vLLM itself with a tiny random model, on worker processes (1 to 3 minutes a case)

After each: the state is the right one for the fault, no finished trial is lost or run twice, within
30 s no process is left that carries the job's mark and nothing that a stage held, the archive is
clean (`optikit archive check`), and no planted key or server key is in any file or command line.
Needs root (mounts) and Linux. A clock jump is seen by the job's own Python processes, not by the
kernel. The object store is SeaweedFS's S3 server. ``--quick``: 12
cases on the process pool, some minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

from benchmarks._fault_case import Kind, Outcome, run_case
from benchmarks._fault_kinds import KINDS
from benchmarks._workloads import report, where

BAD = (*("wrong_state", "lost_or_repeated_trials", "orphans", "leaks", "corrupt", "secrets"),)
COUNTS = {"process": 200, "inline": 20, "ray": 60, "real": 20}
QUICK = (
    *("worker killed", "driver killed", "engine killed", "supervisor killed", "engine exits 0"),
    *("engine hangs at start", "disk full", "read-only", "stays read-only", "clock jumps"),
    *("two resumes", "driver killed, engine"),
)


def planned(names: list[str], seed: int) -> Iterator[tuple[str, int]]:
    """Kinds in turn, each as often as its weight says, with a seed for each case."""
    due = dict.fromkeys(names, 0.0)
    number = 0
    while True:
        for name in names:
            due[name] += KINDS[name].weight
            if due[name] >= 1.0:
                due[name] -= 1.0
                yield name, 1000 * seed + number
                number += 1


def one(name: str, seed: int, pool: str, keep: Path | None) -> Outcome:
    """In a process of its own: whatever the harness itself meets is an outcome."""
    return run_case(KINDS[name], seed, pool, keep)


def run(
    names: list[str], seed: int, count: int, pool: str, at_once: int, keep: Path | None
) -> list[Outcome]:
    """Cases until so many faults were injected."""
    cases, found = planned(names, seed), list[Outcome]()
    injected, began = 0, time.monotonic()
    context = multiprocessing.get_context("spawn")
    real = "process" if pool == "real" else pool
    with ProcessPoolExecutor(at_once, mp_context=context) as workers:
        running: set[Future[Outcome]] = set()
        while injected < count or running:
            while len(running) < at_once and injected + len(running) < count:
                running.add(workers.submit(one, *next(cases), real, keep))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                injected += outcome.faults
                found.append(outcome)
                bad = ", ".join(f"{name} {n}" for name in BAD if (n := getattr(outcome, name)))
                rate = injected / (time.monotonic() - began) * 60
                print(
                    f"{injected:4d} faults, {rate:.1f} a minute: {outcome.kind} "
                    f"(seed {outcome.seed}): {outcome.state} in {outcome.seconds:.0f} s"
                    f"{'; ' + bad if bad else ''}",
                    file=sys.stderr,
                    flush=True,
                )
                for line in outcome.told:
                    print(f"       {line[:300]}", file=sys.stderr, flush=True)
    return found


def rows(found: list[Outcome]) -> list[dict[str, object]]:
    """A line a kind."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        by_kind[outcome.kind].append(outcome)
    return [
        {
            "kind": kind,
            "jobs": len(some),
            "faults": sum(o.faults for o in some),
            **{name: sum(getattr(o, name) for o in some) for name in BAD},
            "seconds a job": sum(o.seconds for o in some) / len(some),
        }
        for kind, some in by_kind.items()
    ]


def kinds_of(pool: str, only: str | None, quick: bool) -> list[str]:
    """Names of the kinds that run on a pool."""

    def fits(kind: Kind) -> bool:
        if pool == "real":
            return kind.real_engine
        return pool in kind.pools and not kind.real_engine

    names = [name for name, kind in KINDS.items() if fits(kind)]
    if only is not None:
        names = [name for name in names if name == only]
    elif quick:
        names = [name for name in names if name in QUICK]
    if not names:
        sys.exit(f"no fault {only!r} on the pool {pool}; there are: {', '.join(sorted(KINDS))}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=None, help="faults to inject")
    parser.add_argument("--only", default=None, help="one kind of fault")
    parser.add_argument("--pool", choices=tuple(COUNTS), default="process")
    parser.add_argument("--at-once", type=int, default=None, help="jobs side by side")
    parser.add_argument("--keep", type=Path, default=None, help="homes of bad cases go there")
    parser.add_argument("--quick", action="store_true", help="some 12 faults")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("faults of the disk are made by mounts: run this as root")
    names = kinds_of(args.pool, args.only, args.quick)
    count = args.count or (len(names) if args.quick else COUNTS[args.pool])
    at_once = args.at_once or (2 if args.pool in ("process", "inline") else 1)
    began = time.monotonic()
    found = run(names, args.seed, count, args.pool, at_once, args.keep)
    table = rows(found)
    print(f"Faults in whole jobs, pool {args.pool}, seed {args.seed}; {where()}")
    report(table, tuple(table[0]))
    wall_s = time.monotonic() - began
    faults = sum(outcome.faults for outcome in found)
    summary = {
        "benchmark": "faults",
        "quick": args.quick,
        "pool": args.pool,
        "seed": args.seed,
        "jobs": len(found),
        "faults": faults,
        **{name: sum(getattr(outcome, name) for outcome in found) for name in BAD},
        "missed": sum(outcome.faults == 0 for outcome in found),
        "faults_a_minute": round(faults / wall_s * 60, 2),
        "wall_s": round(wall_s, 1),
        "where": where(),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
