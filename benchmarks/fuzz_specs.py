"""Mutated job specs: is each a valid plan, or one of our errors with a key in it?

    python benchmarks/fuzz_specs.py [--count N] [--seed N] [--quick]

Prints how many became a plan, how many each error, and how many are neither: another exception, a
message that names no key, a plan that does not survive the archive, or more than 5 s. The engine is
the simulated one mostly; nothing is started. tests/unit/spec/test_job_fuzz.py does 2,500 of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

from benchmarks._workloads import where
from optikit.api import Submitter
from tests.mutations import key_words, mutated, outcome

COUNT, QUICK = 10_000, 1_000
LONGEST_S = 5.0
SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    count = args.count or (QUICK if args.quick else COUNT)
    found: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    keys = key_words()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OPTIKIT_ENGINE_PYTHON"] = f"{folder}/no-engine"
        os.chdir(folder)  # relative paths of the specs lead to nothing
        submitter = Submitter(Path(folder) / "home")
        for number, spec in enumerate(mutated(count, args.seed)):
            start = time.process_time()
            try:
                found[outcome(spec, submitter, keys)] += 1
            except Exception as error:  # noqa: BLE001  # that is what is looked for
                wrong.append(f"{number}: {type(error).__name__}: {error}"[:400])
            took = time.process_time() - start
            slowest = max(slowest, took)
            if took > LONGEST_S:
                wrong.append(f"{number}: took {took:.1f} s")
    for line in wrong[:SHOWN]:
        print(f"WRONG {line}", file=sys.stderr)
    print(
        json.dumps(
            {
                "specs": count,
                "plans": found.pop("plan", 0),
                "errors": dict(found.most_common()),
                "wrong": len(wrong),
                "slowest_s": round(slowest, 3),
                "seconds": round(time.monotonic() - began, 1),
                "where": where(),
            }
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
