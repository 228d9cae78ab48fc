"""Published models as a job leaves them: a bundle with a real model, told to a real registry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from optikit.stores.contents import model_digest
from optikit.trackers.mlflow import TRACKER
from tests.models import tiny_llama

__all__ = ["publish"]


def publish(
    home: Path,
    job_id: str,
    name: str,
    status: str = "certified",
    quality: str = "kept",
    address: str | None = None,
    licence: str = "apache-2.0",
) -> tuple[str, Path]:
    """Version and bundle."""
    bundle = home / "bundles" / job_id
    tiny_llama(bundle / "model")
    (bundle / "model" / "NOTICE").write_text(f"of {job_id}\n")
    proof = json.dumps({"status": status, "job_id": job_id}).encode()
    (bundle / "certificate.json").write_bytes(proof)
    (bundle / "provenance.json").write_text(json.dumps({"predicate": {"of": job_id}}))
    tags = {
        "status": status,
        "recipe": "int_w8a8",
        "sku": "H100_2",
        "quality": quality,
        "licence": licence,
        "certified_rate_rps": "4.25",
        "model_digest": model_digest(bundle / "model"),
        "certificate_digest": f"sha256:{hashlib.sha256(proof).hexdigest()}",
        "bundle": str(bundle),
    } | ({"bundle_address": address} if address else {})
    version = TRACKER.record(home, job_id, {}, {}, [], bundle, name, tags)
    assert version is not None
    return version, bundle
