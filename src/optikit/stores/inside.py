"""What a site lets a job read and run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from optikit.adapters.files import inside
from optikit.core.addresses import allowed
from optikit.core.paths import addresses_of, paths_of
from optikit.errors import UnsafeInput
from optikit.spec.job import OptimizationJob
from optikit.spec.permit import Permit
from optikit.spec.queue import Site

__all__ = ["TRUST", "may_run_code", "must_allow_code", "permit_for"]

TRUST = "OPTIKIT_TRUST_REMOTE_CODE"
"""Where no service speaks for a site, whoever runs the job does, by setting this to 1."""


def may_run_code(site: Site | None, environment: Mapping[str, str] | None = None) -> bool:
    """Whether a model's own code may run here: the site's word, else that of the environment."""
    if site is not None:
        return site.trust_remote_code
    return (os.environ if environment is None else environment).get(TRUST) == "1"


def must_allow_code(site: Site | None, asked: str) -> None:
    """Raise unless a model's own code may run here.

    Args:
        asked: what asks for it, for the message.

    Raises:
        UnsafeInput: says who can allow it.
    """
    if not may_run_code(site):
        who = (
            "its site does not (trust_remote_code of the service's settings)"
            if site is not None
            else f"nobody allowed it here (set {TRUST}=1 after reading the code)"
        )
        raise UnsafeInput(
            f"{asked} asks to run the model's own code, and {who}; else use a checkpoint of an "
            "architecture that the engine knows"
        )


def permit_for(job: OptimizationJob, site: Site | None, home: Path) -> Permit:
    """What a job may read and run, after every path that it names was looked at.

    Args:
        site: None: the machine's own user, who may read any file.
        home: of the team; always one of the roots.

    Raises:
        SpecError: an address that is none.
        UnsafeInput: a path that leads outside all roots, an address or a database that this site
            does not allow, or code that is not allowed.
    """
    if job.model.trust_remote_code:
        must_allow_code(site, "model.trust_remote_code")
    roots = None if site is None else (str(home), *site.roots)
    for named in paths_of(job) if roots is not None else ():
        inside(named.path, roots, named.key)
    if site is not None and job.tuner.storage is not None:
        raise UnsafeInput(
            "tuner.storage: this site takes no database of a job's choice, which would be opened "
            "with the service's rights and passwords; leave it out, and the studies are kept in "
            "the job's folder"
        )
    if site is not None and job.engine.key is not None and job.engine.key.env is not None:
        raise UnsafeInput(
            "engine.key.env: the environment of this site's service is not the job's to read; put "
            "the key into a file of your team's folder and name it as engine.key.file"
        )
    addresses = None if site is None else site.addresses
    for key, address in addresses_of(job):
        allowed(address, addresses, key)
    return Permit(roots=roots, addresses=addresses, code=job.model.trust_remote_code)
