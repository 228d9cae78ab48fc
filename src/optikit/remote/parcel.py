"""What travels to a cluster: the package and the submission in one zip, and the check on arrival.

Only the standard library is needed here: on arrival this runs before anybody knows what is
installed there.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optikit.adapters.hardware import describe_environment
from optikit.errors import BadInput

__all__ = ["SUBMISSION_FILE", "arrived", "code_digest", "sent_with", "write_parcel"]

SUBMISSION_FILE = "submission.json"
_PACKAGE = Path(__file__).parents[1]
_MOST_BYTES = 1_000_000
"""Of a submission, as of a spec's file."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can name: equal contents make equal zips."""
_OWN = "optikit"
"""It travels itself, so its version there says nothing."""


def sent_with() -> dict[str, Any]:
    """What a submission says of its sender: ``code``, ``python``, ``packages``."""
    facts = describe_environment()
    packages = {name: found for name, found in facts["packages"].items() if name != _OWN}
    return {"code": code_digest(), "python": facts["python"], "packages": packages}


def code_digest(package: Path = _PACKAGE) -> str:
    """SHA-256 over the package's files, names and contents, in the order of their names."""
    whole = hashlib.sha256()
    for name, path in _files(package):
        content = path.read_bytes()
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"sha256:{whole.hexdigest()}"


def write_parcel(path: Path, submission: str, package: Path = _PACKAGE) -> None:
    """Write the zip: the package, and the submission's JSON beside it.

    Raises:
        BadInput: the submission is larger than a spec may be.
    """
    if len(submission.encode()) > _MOST_BYTES:
        raise BadInput(
            f"the job spec has {len(submission.encode())} bytes; a cluster takes {_MOST_BYTES}"
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parcel:
        for name, file in _files(package):
            _put(parcel, f"{package.name}/{name}", file.read_bytes(), file.stat().st_mode)
        _put(parcel, SUBMISSION_FILE, submission.encode(), 0o644)


def arrived(submission: Mapping[str, Any], package: Path = _PACKAGE) -> list[str]:
    """Hold a submission's sender against this machine; what differs and does no harm.

    Args:
        submission: as it was read; a sender that said nothing of itself is not compared.

    Raises:
        BadInput: another Python minor version, another Ray, or not the code that was sent.
    """
    here = describe_environment()
    code, python = submission.get("code"), submission.get("python")
    sent: Mapping[str, str] = submission.get("packages") or {}
    found = {**here["packages"], "python": here["python"]}
    if code is not None and code != code_digest(package):
        raise BadInput(
            f"the code under {package} is not what was sent ({code}); something there comes before "
            "the job's own files on the Python path"
        )
    if python is not None and _minor(python) != _minor(found["python"]):
        raise BadInput(
            f"the job was sent by Python {python}, and {here['interpreter']} on the cluster is "
            f"{found['python']}: name one of {_minor(python)} with --python, or send it from "
            f"Python {_minor(found['python'])}"
        )
    if "ray" in sent and sent["ray"] != found.get("ray"):
        raise BadInput(
            f"the job was sent with Ray {sent['ray']}, and {here['interpreter']} on the cluster "
            f"has {'Ray ' + found['ray'] if 'ray' in found else 'none'}: name the interpreter of "
            "the cluster's Ray with --python, or install its version here"
        )
    wanted = {**sent, **({"python": python} if python else {})}
    return [
        f"{name} {found.get(name, 'is missing')} here, {version} where the job was sent"
        for name, version in sorted(wanted.items())
        if found.get(name) != version
    ]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _files(package: Path) -> Iterator[tuple[str, Path]]:
    """Name below the package and path of each file that is no by-product of running it."""
    found = {
        path.relative_to(package).as_posix(): path
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    yield from sorted(found.items())


def _put(parcel: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (mode & 0o777) << 16
    parcel.writestr(entry, content)
