"""Finds a certificate by path, bundle, job or measurement, and reads it with care."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optikit import __version__
from optikit.archive import jobs
from optikit.errors import BadInput, SpecError, UnknownName, nearest
from optikit.measuring.archive import measurements
from optikit.spec.record import Certificate
from optikit.spec.versions import CERTIFICATE

__all__ = ["find_certificate", "read_certificate"]

_NAME = "certificate.json"
_BYTES = 16_000_000


def find_certificate(what: str, home: Path) -> Path:
    """The file of a certificate.

    Args:
        what: ``certificate.json`` or another file, a bundle's or measurement's folder, the id of a
            job or of a measurement (or a unique beginning of it), or ``last``.

    Raises:
        UnknownName: nothing of that name; says the nearest ids.
        BadInput: a folder, job or measurement that has no certificate.
    """
    path = Path(what)
    if path.is_dir():
        if not (path / _NAME).is_file():
            raise BadInput(f"{path} has no {_NAME}; give a bundle, or the file itself")
        return path / _NAME
    if path.exists():
        return path
    known = _archived(home)
    if what == "last":
        for file in reversed(known.values()):
            if file is not None:
                return file
        raise BadInput(f"no job or measurement under {home} has a certificate yet")
    matches = [name for name in known if name.startswith(what)] if len(what) > 3 else []
    if len(matches) != 1 and what not in known:
        raise UnknownName(
            f"{what!r} is neither a file nor a job or measurement under {home}; "
            f"{nearest(what, known)}"
        )
    name = what if what in known else matches[0]
    found = known[name]
    if found is None:
        raise BadInput(f"{name} has no certificate: it has not ended, failed, or is a verification")
    return found


def _archived(home: Path) -> dict[str, Path | None]:
    """Where the certificate of each job and measurement lies, oldest first."""
    found: list[tuple[float, str, Path | None]] = []
    for job in jobs(home):
        published = job.of_kind("published")  # a record of an older version may not be readable
        file = Path(str(published[-1].get("bundle"))) / _NAME if published else job.root / _NAME
        found.append((job.created(), job.job_id, file))
    found += [(m.created(), m.measurement_id, m.certificate) for m in measurements(home)]
    found.sort(key=lambda item: item[:2])
    return {name: file if file and file.is_file() else None for _, name, file in found}


def read_certificate(path: Path) -> Certificate:
    """The certificate in a file.

    Raises:
        BadInput: no file, no JSON, a certificate of another version of OptiKIT, or one whose
            fields are missing, unknown or wrong.
    """
    try:
        if path.stat().st_size > _BYTES:
            raise BadInput(f"{path} is larger than {_BYTES} bytes: not a certificate")
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read the certificate {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is damaged or no certificate: {error}") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version is None:
        raise BadInput(f"{path} is no certificate: it has no schema_version")
    if isinstance(version, int) and version < CERTIFICATE:
        raise BadInput(
            f"{path} was written by an older version of OptiKIT (schema version {version}, this "
            f"one reads {CERTIFICATE}); run the job again to have it certified anew"
        )
    if version != CERTIFICATE:
        raise BadInput(
            f"{path} has schema version {version!r}, this OptiKIT reads {CERTIFICATE}; a newer "
            "OptiKIT wrote it, or it is damaged"
        )
    try:
        return Certificate.parse(data, str(path))
    except SpecError as error:
        who = str(data.get("optikit_version") or "")
        newer = who not in ("", __version__)
        other = f", or OptiKIT {who!r:.40}, which wrote it, knows more" if newer else ""
        raise BadInput(f"the certificate is damaged{other}: {error}") from None
