"""What a check of an archive finds: where, what is recorded there, what was derived instead."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["ArchiveCheck", "Finding"]


class Finding(Spec):
    """One thing in an archive that does not follow from the rest of it."""

    kind: Literal["unreadable", "missing", "figure", "digest", "history"]
    """``figure``: a number, verdict or choice that the raw files do not give; ``digest``: content
    that is not what was written down; ``history``: events that cannot have come one after the
    other."""
    where: str
    """File below the job's folder, or event, and what in it."""
    recorded: Any = None
    derived: Any = None
    """None: nothing could be derived."""


class ArchiveCheck(Spec):
    """One job's archive, checked."""

    job_id: str
    findings: tuple[Finding, ...] = ()
    torn_lines: int = 0
    """Lines of the journal that a crash tore: their writer died, and nobody counted on them."""
    trials: int = 0
    """Whose figures were derived again."""
    probes: int = 0
    requests: int = 0
    files: int = Field(default=0, ge=0)
    """Whose content was read and held against its digest."""

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not self.findings
