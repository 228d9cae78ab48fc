"""Bundles as publish writes them, with the texts of core/bundle.py and vLLM's own command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from optikit.archive import JobArchive
from optikit.core.bundle import HOST, MODEL, PORT, readable, serving_facts
from optikit.engines.vllm import Vllm
from optikit.exports import export_named
from optikit.exports.base import DeploySettings
from optikit.journal import raw_digest
from optikit.spec.bundle import Bundle, ServingFacts
from optikit.spec.record import Certificate, PublishRecord
from optikit.spec.serving import ServingConfig
from tests.specs import small_plan

DIGEST = "sha256:" + "5e" * 32
_PORT = 41_357


def facts_and_certificate(
    sku: str = "H100_8",
    used: int = 2,
    status: str | None = "certified",
    more: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    version: str = "0.32.0",
    name: str = "llama-70b-fp8_dynamic",
    job_id: str = "job-1",
    serving: dict[str, Any] | None = None,
    simulated: bool = False,
) -> tuple[dict[str, Any], Certificate | None]:
    """What ``serving.yaml`` says and the certificate.

    Args:
        used: tensor parallel.
        status: None: no certificate.
        more: words behind the engine's own.
    """
    plan = small_plan(compute={"sku": sku}, slo=["p95(e2e) <= 500 ms"])
    kind = plan.sku.kind
    config = ServingConfig.parse(
        {"max_model_len": 2048, "tensor_parallel": used, **(serving or {})}
    )
    engine = Vllm(python=Path(sys.executable))
    command = [
        word.replace(str(_PORT), PORT)
        for word in engine.command(Path(MODEL), config, kind, host=HOST, port=_PORT, name=name)
    ] + list(more)
    held = status in ("certified", "preliminary")
    certificate = None
    if status is not None:
        certificate = Certificate.parse(
            {
                "status": status,
                "simulated": simulated,
                "job_id": job_id,
                "created": "2026-11-27T02:22:40+00:00",
                "model_name": "llama-70b",
                "model_digest": DIGEST,
                "recipe": "fp8_dynamic",
                "engine": "vllm",
                "engine_version": version,
                "serving": config,
                "command": readable(command),
                "hardware": {"gpu": "2 x NVIDIA H100 80GB HBM3"},
                "sku": sku,
                "workload": plan.job.workload,
                "slo": plan.job.slo,
                "method": plan.job.method,
                "outcome": "pass" if held else "infeasible",
                "rate_rps": 4.25 if held else None,
                "rate_per_device_rps": 4.25 / used if held else None,
                "rate_low_rps": 4.2 if held else None,
                "rate_high_rps": 4.6 if held else None,
                "requests": 900,
                "seeds": [1, 2],
                "measurement": None,
                "quality": None,
                "reason": "held" if held else "p95(e2e) is 900 ms\nat 0.1 requests/s",
            }
        )
    variables = engine.environment(config, kind) if environment is None else environment
    facts = serving_facts(plan, config, command, variables, version, certificate)
    return {**facts, **({"simulated": True} if simulated else {})}, certificate


def bundle(folder: str = "/srv/bundles/job-1", **changes: Any) -> Bundle:
    """A bundle in memory; it has a model only where ``folder`` has one."""
    facts, certificate = facts_and_certificate(**changes)
    return Bundle(
        folder=folder,
        facts=ServingFacts.parse(facts),
        certificate=certificate,
        certificate_digest="sha256:" + "ce" * 32 if certificate else None,
    )


def write_bundle(folder: Path, **changes: Any) -> Path:
    """A bundle's folder, with an empty model."""
    facts, certificate = facts_and_certificate(**changes)
    (folder / "model").mkdir(parents=True)
    (folder / "serving.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    if certificate is not None:
        text = certificate.model_dump_json(indent=2) + "\n"
        (folder / "certificate.json").write_text(text)
    return folder


def archived(home: Path, job_id: str = "job-1", **changes: Any) -> Path:
    """A job that published a bundle."""
    archive = JobArchive.create(home, small_plan(), {}, job_id)
    folder = write_bundle(home / "bundles" / job_id, job_id=job_id, **changes)
    files = {p.name: raw_digest(folder, [p.name]) for p in folder.iterdir() if p.is_file()}
    archive.event("published", bundle=str(folder), files=files)
    record = PublishRecord(
        inputs_digest="d",
        bundle=str(folder),
        model_name="m",
        model_version="1",
        trial="t0",
        certificate_digest=files.get("certificate.json"),
    )
    archive.commit(record)
    return folder


def render(target: str, served: Bundle, **settings: Any) -> str:
    """What an export writes."""
    export = export_named(target)
    assert export.of == "bundle"
    return export.render(served, DeploySettings.parse(settings))
