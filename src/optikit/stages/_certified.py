"""The certificate of a server that somebody else runs: the job carries it, there is no bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from optikit import __version__
from optikit.adapters.hardware import hardware
from optikit.core.certify import certify_elsewhere
from optikit.journal import patiently, raw_digest, write_whole
from optikit.spec.plan import Plan
from optikit.spec.record import Trial
from optikit.stages.base import Tools, attempt, resources_for

__all__ = ["seen_there", "write_certificate"]

_FILE = "certificate.json"


def seen_there(folder: Path, raw: Sequence[str | None]) -> tuple[dict[str, str], str | None]:
    """What the node is that measures, and the digest of the raw files that it wrote."""
    return hardware(), raw_digest(folder, list(raw))


def write_certificate(tools: Tools, plan: Plan, trial: Trial) -> str | None:
    """Write the job's ``certificate.json``; its digest, None where no rate search ended."""
    rate = trial.rate
    if rate is None:
        return None
    folder = tools.journal.folder("trials", trial.id)
    raw = [probe.raw for probe in rate.probes]
    what, resources = "hardware facts", resources_for(plan, 0)
    (client, raw_sum), _ = attempt(tools, what, resources, seen_there, folder, raw, bounded=False)
    certificate = certify_elsewhere(
        plan,
        trial,
        job_id=tools.journal.job_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        optikit_version=__version__,
        client=client,
        archive_digest=raw_sum,
    )
    text = certificate.model_dump_json(indent=2) + "\n"
    file = tools.journal.folder() / _FILE
    patiently(partial(write_whole, file, text), f"write {file}")
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    tools.journal.event("certified", trial=trial.id, file=_FILE, digest=digest)
    return digest
