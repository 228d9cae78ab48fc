"""Versions of what OptiKIT reads and writes; docs/reference/schemas.md says when one grows."""

from __future__ import annotations

from typing import Final

__all__ = ["CERTIFICATE", "JOB", "RECORD", "SCHEMAS"]

JOB: Final = 1
"""A job spec: YAML that a person wrote, and ``job.json`` of an archive."""
RECORD: Final = 1
"""Trials and stage records: lines of an archive's journal."""
CERTIFICATE: Final = 2
SCHEMAS: Final = {"job": JOB, "record": RECORD, "certificate": CERTIFICATE}
"""What this OptiKIT writes; it stands in every archive's journal."""
