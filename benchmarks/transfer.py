"""Two gigabytes to and from an S3 server: ours beside boto3's own transfer, in the same run.

    python benchmarks/transfer.py [--quick] [--gib N] [--rounds N]

A SeaweedFS server on loopback, on this machine's disk and cores, so a figure says nothing of a
network; what is compared is the client. Each round, in changing order, with files that nobody else
reads: boto3 ``upload_file`` and ``download_file`` with its defaults, and ours (RemoteStore.send and
RemoteStore.bring: with SHA-256 of every byte, and on the way in the checked move into the store).
``ratio``: ours over boto3's bytes a second, of the medians. Bar: 0.9, both ways. ``memory``: most
resident memory of the process that moves, over what it had before. ``--quick``: 256 MiB, 1 round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from any folder

from benchmarks._workloads import report, where
from tests.object_store import ObjectStore, object_store

BUCKET = "bench"
MIB = 1 << 20
COLUMNS = ("transfer", "mb_per_s", "lowest", "highest", "memory_mib")


def main() -> None:
    """Run it and print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    size, rounds = (256 * MIB, 1) if args.quick else (int(args.gib * 1024) * MIB, args.rounds)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="transfer-") as folder:
        root = Path(folder)
        model(root / "model", size)
        with object_store(root / "s3") as store:
            os.environ.update(store.environment())
            found = rows(root, store, size, rounds)
    ratios = {
        way: found[f"ours {way}"]["mb_per_s"] / found[f"boto3 {way}"]["mb_per_s"]
        for way in ("up", "down")
    }
    print(f"{size / 2**30:g} GiB, {rounds} rounds, an S3 server on loopback; {where()}")
    report([{"transfer": name, **row} for name, row in found.items()], COLUMNS)
    print(f"ours over boto3: up {ratios['up']:.2f}, down {ratios['down']:.2f} (bar 0.9)")
    print(
        json.dumps(
            {
                "benchmark": "transfer",
                "quick": args.quick,
                "bytes": size,
                "ratio": ratios,
                "transfers": found,
                "wall_s": round(time.monotonic() - began, 1),
                "where": where(),
            }
        )
    )


def model(folder: Path, size: int) -> None:
    """A folder that the store takes for a model: one file of weights of that many bytes."""
    folder.mkdir()
    text = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    block = os.urandom(MIB)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "little") + block[8:])
    (folder / "config.json").write_text("{}")


def rows(root: Path, store: ObjectStore, size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Name of the transfer to its median speed and its most memory."""
    import boto3

    boto3.client("s3").create_bucket(Bucket=BUCKET)
    speeds: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, int] = defaultdict(int)
    for number in range(rounds):
        order = ("boto3", "ours") if number % 2 == 0 else ("ours", "boto3")
        for way in ("up", "down"):
            for who in order:
                seconds, grown = apart(ACTS[f"{who} {way}"], root, number)
                speeds[f"{who} {way}"].append(size / seconds / 1e6)
                memory[f"{who} {way}"] = max(memory[f"{who} {way}"], grown)
        for name in ("home", "boto3"):
            shutil.rmtree(root / f"{name}-{number}", ignore_errors=True)
        left = boto3.resource("s3").Bucket(BUCKET)
        left.objects.all().delete()
    return {
        name: {
            "mb_per_s": statistics.median(found),
            "lowest": min(found),
            "highest": max(found),
            "memory_mib": memory[name] / MIB,
        }
        for name, found in sorted(speeds.items())
    }


def apart(act: Callable[[Path, int], None], root: Path, number: int) -> tuple[float, int]:
    """Seconds and growth of memory in a process of its own; libraries are loaded before."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(act, root, number, there))
    process.start()
    there.close()
    seconds, grown = here.recv()
    process.join()
    return float(seconds), int(grown)


def _measured(act: Callable[[Path, int], None], root: Path, number: int, there: Any) -> None:
    import boto3  # noqa: F401
    import s3fs  # noqa: F401

    import optikit.stores.remote  # noqa: F401

    before, began = _memory("VmRSS"), time.monotonic()
    act(root, number)
    there.send((time.monotonic() - began, _memory("VmHWM") - before))


def _memory(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def boto3_up(root: Path, number: int) -> None:
    import boto3

    client = boto3.client("s3")
    for path in (root / "model").iterdir():
        client.upload_file(str(path), BUCKET, f"boto3-{number}/{path.name}")


def boto3_down(root: Path, number: int) -> None:
    import boto3

    client, folder = boto3.client("s3"), root / f"boto3-{number}"
    folder.mkdir()
    for path in (root / "model").iterdir():
        client.download_file(BUCKET, f"boto3-{number}/{path.name}", str(folder / path.name))


def ours_up(root: Path, number: int) -> None:
    from optikit.stores.remote import RemoteStore

    RemoteStore(root / f"home-{number}").send(root / "model", f"s3://{BUCKET}/ours-{number}")


def ours_down(root: Path, number: int) -> None:
    from optikit.stores.remote import RemoteStore

    RemoteStore(root / f"home-{number}").bring(f"s3://{BUCKET}/ours-{number}", "model")


ACTS: dict[str, Callable[[Path, int], None]] = {
    "boto3 up": boto3_up,
    "boto3 down": boto3_down,
    "ours up": ours_up,
    "ours down": ours_down,
}

if __name__ == "__main__":
    main()
