"""What an index of a thousand jobs costs, and what a list of them takes with and without it.

    python benchmarks/index.py [--jobs 1000]

A whole job on paper is run once and its archive copied; every copy has a journal of its own. SQLite
in the home, which is a temporary folder. Seconds on this machine's clock; they say how a thousand
jobs feel, and no test depends on them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from optikit.adapters.hardware import hardware
from optikit.api import index_archives, list_indexed, list_jobs
from optikit.spec.listing import Wanted
from tests.unit.reports.archive_case import driven


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    count = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first = driven(home)
        for number in range(1, count):
            shutil.copytree(first.root, home / "jobs" / f"job-{number:05d}")
        figures = {
            "jobs": count,
            "journal_bytes": first.journal.stat().st_size,
            "first_index_s": timed(lambda: index_archives(url="default", home=home)),
            "index_again_s": timed(lambda: index_archives(url="default", home=home)),
            "list_archives_s": timed(lambda: list_jobs(home)),
            "list_index_s": timed(lambda: list_indexed("default", home=home)),
            "list_archives_newest_20_s": timed(lambda: list_jobs(home, Wanted(limit=20))),
            "list_index_newest_20_s": timed(
                lambda: list_indexed("default", Wanted(limit=20), home=home)
            ),
            "index_bytes": sum(file.stat().st_size for file in home.glob("index.db*")),
            "hardware": hardware(),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
