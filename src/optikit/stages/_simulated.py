"""What stands for a checkpoint where there is none: one small file, stored by its digest.

::

    <home>/simulated/<sha256>/simulated.json
    <home>/endpoints/<sha256>/endpoint.json
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

from optikit.adapters.disk import sync
from optikit.journal import patiently
from optikit.spec.candidate import ArtifactRef
from optikit.spec.elsewhere import ENDPOINT_FILE, RemoteModel
from optikit.spec.simulated import MODEL_FILE, SimulatedModel
from optikit.stages._bundle import write_text

__all__ = ["NOT_SCORED", "keep"]

NOT_SCORED = "simulated: there is no model to score"


def keep(home: Path, model: SimulatedModel | RemoteModel) -> ArtifactRef:
    """Write the model's file, whole or not at all; the same model again is the same folder."""
    remote = isinstance(model, RemoteModel)
    place, name = ("endpoints", ENDPOINT_FILE) if remote else ("simulated", MODEL_FILE)
    text = json.dumps(model.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    folder = home / place / digest
    file = folder / name
    if not file.is_file() or file.read_text(encoding="utf-8") != text:

        def write() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{secrets.token_hex(8)}.partial"
            try:
                write_text(partial, text, mode=0o444)
                partial.replace(file)  # of two jobs that keep the same at once, either may win
            finally:
                partial.unlink(missing_ok=True)
            sync(folder)
            sync(folder.parent)

        patiently(write, f"write {folder}")
    return ArtifactRef(
        kind="model", digest=f"sha256:{digest}", path=str(folder), size_bytes=len(text.encode())
    )
