"""What the load client costs: ours beside GuideLLM, against a server that does nothing.

Claim: at 1 to 100 requests a second our client is a small part of one core and adds little to a
latency; ``docs/decisions/0007-own-load-client.md`` quotes this table. Each client is a process of
its own and sends evenly spaced completions (32 prompt and 8 output tokens, streamed) to
``_do_nothing_server.py``. Of each run:

- cpu_ms: CPU time of the client's whole process tree a request, between the first and the last
  arrival at the server, so that neither start nor report counts (Linux: /proc/*/task/*/schedstat),
- added_p50_ms, added_p99_ms: client's request start to its last event, less the server's own mean
  time from the request to the last byte of its answer,
- lag_p99_ms: request start less the time at which it was due, as the client says,
- rate_rps: arrivals at the server.

    .venv/bin/python benchmarks/client_overhead.py [--quick] [--no-guidellm]

GuideLLM pins another click than we do: it gets an environment of its own, made on demand under
.cache/venvs/guidellm (5.6 GB) with uv. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.8.1"
VENV = ROOT / ".cache" / "venvs" / "guidellm"
TOKENIZER = ROOT / ".cache" / "models" / "smollm2-135m"
INSTALL_S, RUN_S = 600.0, 150.0
RATES = (1, 10, 50, 100)
PROMPT_TOKENS, OUTPUT_TOKENS = 32, 8
COLUMNS = ("requests", "rate_rps", "cpu_ms", "added_p50_ms", "added_p99_ms", "lag_p99_ms")
Row = dict[str, Any]


class CpuWatch(threading.Thread):
    """Samples the CPU time of all processes of a session until told to stop."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._stop_asked = threading.Event()
        self.at_s: list[float] = []
        self.cpu_s: list[float] = []
        self._threads: dict[str, int] = {}

    def run(self) -> None:
        """Ten times a second."""
        while not self._stop_asked.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/stat"):
                # fields behind the name, which may hold spaces: state, parent, group, session
                with contextlib.suppress(OSError, ValueError, IndexError):
                    if int(path.read_text().rpartition(")")[2].split()[3]) == self._session:
                        for thread in path.parent.glob("task/*/schedstat"):
                            self._threads[str(thread)] = int(thread.read_text().split()[0])
            self.at_s.append(time.monotonic())
            self.cpu_s.append(sum(self._threads.values()) / 1e9)  # ended threads stay counted

    def between(self, begin_s: float, end_s: float) -> float:
        """CPU seconds between two times of the monotonic clock; ends the sampling."""
        self._stop_asked.set()
        self.join()
        return float(np.diff(np.interp([begin_s, end_s], self.at_s, self.cpu_s))[0])


@contextlib.contextmanager
def do_nothing_server() -> Iterator[tuple[str, Row]]:
    """Its address, and what it saw: filled in at the end."""
    seen: Row = {}
    command = [sys.executable, str(ROOT / "benchmarks" / "_do_nothing_server.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}", seen
        finally:
            out, _ = server.communicate("", timeout=30)
            seen.update(json.loads(out))


def measured(command: list[str], report: Path) -> CpuWatch:
    """Run a client to its end.

    Raises:
        RuntimeError: it failed or took too long; with the end of what it said.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=report.parent, start_new_session=True
        )
        watch = CpuWatch(process.pid)
        watch.start()
        try:
            code = process.wait(RUN_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        log.seek(0)
        if code != 0 or not report.is_file():
            raise RuntimeError(f"exit {code}: {log.read()[-400:].strip()}")
    return watch


def row(client: str, rate: int, seconds: float, folder: Path) -> Row:
    """One run of one client at one rate."""
    report = folder / f"{client}-{rate}.json"
    found: Row = {"client": client, "offered_rps": rate}
    count = max(round(rate * seconds), 4)
    seen: Row = {}
    try:
        with do_nothing_server() as (url, seen):
            command = ours(url, rate, count, report)
            if client == "guidellm":
                command = guidellm(url, rate, count, report)
            watch = measured(command, report)
    except (RuntimeError, OSError) as error:
        return found | {"error": str(error)}
    facts = json.loads(report.read_text())
    timings = facts["timings"] if client == "ours" else guidellm_timings(facts)
    due, start, end = np.array(timings).T
    came, took = seen["came_s"], float(np.mean(seen["took_s"]))
    added = (end - start - took) * 1e3
    return found | {
        "requests": len(timings),
        "rate_rps": (len(came) - 1) / (came[-1] - came[0]),
        "cpu_ms": watch.between(came[0], came[-1]) / (len(came) - 1) * 1e3,
        "added_p50_ms": float(np.percentile(added, 50)),
        "added_p99_ms": float(np.percentile(added, 99)),
        "lag_p99_ms": float(np.percentile(start - due, 99)) * 1e3,
        "server_ms": took * 1e3,
    }


# ---- the two clients


def ours(url: str, rate: int, count: int, report: Path) -> list[str]:
    """The command of our client: this file again."""
    own = ["--client", url, "--rate", str(rate), "--count", str(count), "--report", str(report)]
    return [sys.executable, str(Path(__file__).resolve()), *own]


def send(url: str, rate: int, count: int, report: Path) -> None:
    """Our client, in its own process."""
    from optikit.core.load import plan_load
    from optikit.loadgen.openai import GENERATOR
    from optikit.spec.endpoint import Endpoint
    from optikit.spec.workload import Workload

    workload = Workload.parse(
        {
            "prompt_tokens": PROMPT_TOKENS,
            "output_tokens": OUTPUT_TOKENS,
            "arrivals": "constant",
        }
    )
    endpoint = Endpoint(base_url=url, model="fake", vocab=49152)
    load = plan_load(workload, float(rate), count, seed=0)
    found = GENERATOR.run(endpoint, load, timeout_s=RUN_S, keep_tokens=True)
    if found.errors:
        raise SystemExit(f"{len(found.errors)} failed: {next(iter(found.errors.values()))}")
    rows = np.stack([found.scheduled_s, found.sent_s, found.end_s], axis=1)
    report.write_text(json.dumps({"timings": rows.tolist()}))


def guidellm(url: str, rate: int, count: int, report: Path) -> list[str]:
    """GuideLLM's command for the same requests; it can send them as text only."""
    return [
        *(str(VENV / "bin" / "guidellm"), "run", "--disable-console"),
        *("--backend", f"kind=openai_http,target={url},model=fake,request_format=/v1/completions"),
        *("--profile", f"kind=constant,rate={rate}"),
        *("--constraint", f"kind=max_requests,count={count}"),
        "--data",
        f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={OUTPUT_TOKENS}",
        *("--tokenizer", f"kind=hf_auto,model={TOKENIZER}"),
        *("--output", f"kind=json,path={report}"),
    ]


def guidellm_timings(facts: Row) -> list[tuple[float, float, float]]:
    """Due, start and last event of each request of GuideLLM's report, in seconds."""
    names = ("targeted_start", "request_start", "last_request_iteration")
    requests = facts["benchmarks"][0]["requests"]["successful"]
    times = [request["info"]["timings"] for request in requests]
    return [(one[names[0]], one[names[1]], one[names[2]]) for one in times]


def install_guidellm() -> str | None:
    """None, or why GuideLLM cannot be run here."""
    if not (TOKENIZER / "tokenizer.json").is_file():
        return f"it needs a tokenizer: {TOKENIZER} is missing; scripts/setup.py makes it"
    if (VENV / "bin" / "guidellm").is_file():
        return None
    uv = Path(sys.executable).with_name("uv")
    python = VENV / "bin" / "python"
    steps: list[list[str | Path]] = [
        [uv, "venv", "-q", "--clear", "--python", sys.executable, VENV],
        [uv, "pip", "install", "-q", "--python", python, f"guidellm=={VERSION}"],
    ]
    print(f"installing guidellm=={VERSION} into {VENV} ...", flush=True)
    try:
        for step in steps:
            subprocess.run(step, check=True, timeout=INSTALL_S, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        said = getattr(error, "stderr", None) or str(error)
        return f"guidellm=={VERSION} cannot be installed: {str(said).strip()[-200:]}"
    return None


# ---- the report


def cpu_name() -> str:
    """The processor's name as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def show(found: Row) -> None:
    """One line of the table."""
    head = f"{found['client']:<9} {found['offered_rps']:>5}"
    if "error" in found:
        print(f"{head}  {found['error']}", flush=True)
        return
    cells = [
        f"{found[name]:>{len(name) + 1}.{0 if name == 'requests' else 2}f}" for name in COLUMNS
    ]
    print(f"{head} {' '.join(cells)}", flush=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 s a rate instead of 10")
    parser.add_argument("--no-guidellm", action="store_true", help="our client alone")
    for name in ("--client", "--rate", "--count", "--report"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        send(given.client, int(given.rate), int(given.count), Path(given.report))
        return 0
    facts: Row = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "guidellm": VERSION,
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    missing = "left out" if given.no_guidellm else install_guidellm()
    print(f"{'client':<9} {'rps':>5} {' '.join(f'{name:>{len(name) + 1}}' for name in COLUMNS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="optikit-overhead-") as folder:
        for client in ("ours", "guidellm"):
            for rate in RATES:
                if client == "guidellm" and missing:
                    rows.append({"client": client, "offered_rps": rate, "error": missing})
                else:
                    rows.append(row(client, rate, 4.0 if given.quick else 10.0, Path(folder)))
                show(rows[-1])
    for one in rows:
        one.update({k: round(v, 4) for k, v in one.items() if isinstance(v, float)})
    print(json.dumps({**facts, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
