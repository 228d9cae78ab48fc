"""Holds the locked versions against known advisories: what `make audit` runs.

Offline it knows the advisories of constraints/audit.toml and says of what age they are. With
``--online`` it also asks an advisory service through pip-audit, and fails where that cannot be
asked. What [[allowed]] names, with a reason and a date that is not past, is reported and passes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("constraints/main.txt", "constraints/engine.txt")
KNOWN = "constraints/audit.toml"
PIP_AUDIT = "pip-audit==2.10.1"
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)")
_KEYS = {"advisory": {"package", "affected", "id"}, "allowed": {"package", "id", "reason", "until"}}


@dataclass(frozen=True)
class Found:
    """An advisory that a locked version is under."""

    package: str
    version: str
    id: str
    lock: str


def locked(text: str) -> dict[str, str]:
    """Package to version of a lock, names as PyPI compares them."""
    lines = (_LINE.fullmatch(line.partition("#")[0].strip()) for line in text.splitlines())
    return {canonicalize_name(found["name"]): found["version"] for found in lines if found}


def read_known(text: str) -> dict[str, Any]:
    """The list; raises ValueError for an entry that is not whole."""
    known = tomllib.loads(text)
    for kind, keys in _KEYS.items():
        for entry in known.get(kind, ()):
            if set(entry) != keys:
                raise ValueError(f"{KNOWN}: [[{kind}]] has {sorted(entry)}, needs {sorted(keys)}")
    for entry in known.get("allowed", ()):
        if not entry["reason"].strip() or type(entry["until"]) is not datetime.date:
            raise ValueError(f"{KNOWN}: {entry['id']} is allowed without a reason or a date")
    return known


def offline(known: Mapping[str, Any], lock: str, versions: Mapping[str, str]) -> list[Found]:
    """Advisories of the list that versions of a lock are under."""
    return [
        Found(entry["package"], versions[name], entry["id"], lock)
        for entry in known.get("advisory", ())
        if (name := canonicalize_name(entry["package"])) in versions
        and SpecifierSet(entry["affected"], prereleases=True).contains(
            versions[name].partition("+")[0]
        )
    ]


def online(lock: str, text: str) -> list[Found]:
    """What pip-audit's service says of a lock; raises RuntimeError where it cannot be asked."""
    uvx = Path(sys.executable).with_name("uvx")
    own = Path(sys.executable).with_name("pip-audit")
    words = [str(own)] if own.exists() else [str(uvx), PIP_AUDIT]
    if shutil.which(words[0]) is None:
        raise RuntimeError("neither pip-audit nor uvx is in this environment")
    wanted = "".join(f"{name}=={v.partition('+')[0]}\n" for name, v in sorted(locked(text).items()))
    done = subprocess.run(
        [*words, "--no-deps", "--disable-pip", "--format=json", "-r", "/dev/stdin"],
        input=wanted,
        capture_output=True,
        text=True,
        timeout=900,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"pip-audit ended with code {done.returncode}: {last}") from None
    return [
        Found(package["name"], package["version"], problem["id"], lock)
        for package in answer["dependencies"]
        for problem in package.get("vulns", ())
    ]


def judge(
    found: Sequence[Found], known: Mapping[str, Any], today: datetime.date
) -> tuple[list[str], list[str]]:
    """Lines on what must be mended, and on what is allowed."""
    allowed = {(canonicalize_name(a["package"]), a["id"]): a for a in known.get("allowed", ())}
    bad, kept = [], []
    for one in dict.fromkeys(found):
        line = f"{one.package} {one.version} ({one.lock}): {one.id}"
        entry = allowed.get((canonicalize_name(one.package), one.id))
        if entry is None:
            bad.append(
                f"{line}; raise the version, or allow it in {KNOWN} with a reason and a date"
            )
        elif entry["until"] < today:
            bad.append(f"{line}; it was allowed until {entry['until']}: look at it again")
        else:
            kept.append(f"{line}; allowed until {entry['until']}: {entry['reason'].strip()}")
    return bad, kept


def main(argv: Sequence[str], root: Path = ROOT) -> int:
    """Check; 1 where something must be mended or a service that was to be asked was not there."""
    parser = argparse.ArgumentParser(description=__doc__, prog="audit")
    parser.add_argument("--online", action="store_true", help="also ask an advisory service")
    args = parser.parse_args(argv)
    known = read_known((root / KNOWN).read_text(encoding="utf-8"))
    found: list[Found] = []
    count, failed = 0, False
    for lock in LOCKS:
        text = (root / lock).read_text(encoding="utf-8")
        versions = locked(text)
        count += len(versions)
        found += offline(known, lock, versions)
        if args.online:
            try:
                found += online(lock, text)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                failed = True
                print(f"audit: {lock} NOT CHECKED ONLINE: {error}")
    bad, kept = judge(found, known, datetime.datetime.now(datetime.UTC).date())
    for line in kept:
        print(f"audit: known: {line}")
    for line in bad:
        print(f"audit: PROBLEM: {line}")
    print(
        f"audit: {count} locked versions against {len(known.get('advisory', ()))} advisories of "
        f"{KNOWN}, a selection of what was published up to {known['known_until']}"
    )
    if not args.online:
        print(
            "audit: *** NOT CHECKED ONLINE: anything published later is unknown here. Where a "
            "network is: make audit ONLINE=1 ***"
        )
    return 1 if bad or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
