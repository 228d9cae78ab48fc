"""``hf://ORG/NAME@REVISION``: a model of the Hugging Face hub, pinned to the commit.

``HF_TOKEN`` (or the file of ``hf auth login``) opens gated models; ``HF_ENDPOINT`` names a mirror.
With ``HF_HUB_OFFLINE=1`` what lies in the local cache is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from optikit.adapters.datasets import cached_folder, commit_of, offline
from optikit.adapters.fsspec import Folder, opened
from optikit.core.addresses import Address
from optikit.errors import SpecError
from optikit.sources.base import Asker

__all__ = ["SOURCE"]

_PART = r"[A-Za-z0-9][\w.-]*"
_PLACE = re.compile(rf"(?P<name>{_PART}/{_PART})(@(?P<revision>[\w./-]+))?", re.ASCII)


class Hub:
    """Repositories of models."""

    name = "hf"

    def open(self, address: Address, asker: Asker) -> Folder:
        """See base.Source."""
        found = _PLACE.fullmatch(address.place)
        if found is None:
            raise SpecError(
                f"{address}: a model of the hub is written hf://ORG/NAME or "
                "hf://ORG/NAME@REVISION (a branch, tag or commit)"
            )
        name, revision = found["name"], found["revision"]
        if offline():
            folder = cached_folder(name, revision)
            return Folder(opened("file", "evaluate"), str(folder), f"hf://{name}@{folder.name}")
        commit = commit_of(name, revision)
        fs = opened("hf", "evaluate", skip_instance_cache=True)
        return Folder(fs, f"{name}@{commit}", f"hf://{name}@{commit}", known=_known)


def _known(info: Mapping[str, Any]) -> str | None:
    """Large files have their SHA-256 in the hub's listing."""
    lfs = info.get("lfs")
    found = lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None)
    return str(found) if found else None


SOURCE = Hub()
