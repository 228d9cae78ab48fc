"""What a job may read and run: its site's word, fixed when the job was submitted."""

from __future__ import annotations

from optikit.spec.base import Spec

__all__ = ["ANYTHING", "Permit"]


class Permit(Spec):
    """Travels in the plan, so that whoever reads a path or opens a model asks the same question."""

    roots: tuple[str, ...] | None = None
    """Folders below which every path of the job must lie, links resolved; None: anywhere."""
    addresses: tuple[str, ...] | None = None
    """Addresses (``s3://BUCKET/``, ``hf://``) below which what lies elsewhere must lie; None:
    anywhere."""
    code: bool = False
    """Whether the model's own code may be loaded and run: the job asked, and the site allows it."""


ANYTHING = Permit()
"""What whoever runs a job on a machine of their own may do: read any file, run no model's code."""
