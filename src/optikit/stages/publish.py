"""Publish: a bundle that serves what was measured, a model version, the tracker's projection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from optikit import __version__
from optikit.adapters.hardware import packages
from optikit.core.bundle import HOST, MODEL, PORT, readable, readme, serve_script, serving_facts
from optikit.core.certify import certify
from optikit.core.outcome import shipped_trial
from optikit.core.provenance import Origin, origin_rows, statement
from optikit.core.steptimes import on_paper
from optikit.errors import OptikitError
from optikit.journal import patiently, raw_digest
from optikit.spec.candidate import ArtifactRef
from optikit.spec.plan import Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.record import Certificate, PublishRecord, Trial
from optikit.spec.serving import ServingConfig
from optikit.stages._bundle import appearing, link_file, link_tree, write_text
from optikit.stages._certified import seen_there
from optikit.stages._licence import licence_files
from optikit.stages._projection import project
from optikit.stages._room import room_for_bundle
from optikit.stages.base import Inputs, Tools, attempt, default_serving, resources_for

__all__ = ["STAGE", "published_name", "recipe_of"]

_PORTS = (41_357, 52_468)
"""Two ports, so that the words of the command that carry the port can be told by their change."""
_LONGEST_NAME = 128


@dataclass(frozen=True)
class _Shipment:
    """What goes out."""

    name: str
    recipe: str
    model: ArtifactRef
    serving: ServingConfig
    trial: Trial | None
    quality: QualityVerdict | None
    simulated: bool = False

    @property
    def registers(self) -> bool:
        """Only what was shown to hold the SLO, or was never asked to, becomes a version."""
        shown = self.trial is None or self.trial.rate_rps is not None
        return shown and not self.simulated


class Publish:
    """What ships is the gate's choice, else the uncompressed model, with the best trial's config.

    =====================================  ==========================  ==========  ==========
    measured                               certificate                 bundle      registered
    =====================================  ==========================  ==========  ==========
    a rate that holds the SLO              certified or preliminary    yes         yes
    the SLO is infeasible                  negative                    yes         no
    inconclusive                           preliminary, without rate   yes         no
    the flow measures nothing              none                        yes         yes
    every trial of it failed               none                        no          no
    quality lost, ``fallback: none``       none                        no          no
    =====================================  ==========================  ==========  ==========

    A simulated job's bundle has ``simulated.json`` in the place of the model, and is registered
    nowhere. A second run for the same job replaces the bundle and keeps the version.
    """

    name = "publish"

    def run(self, tools: Tools, inputs: Inputs, plan: Plan, inputs_digest: str) -> PublishRecord:
        """Write, register, project. A tracker that fails is an event, not a failure.

        Raises:
            OptikitError: the engine's environment is gone, or the disk is full.
            SourceError: where the bundle is to go does not answer.
        """
        shipment, why = _shipment(inputs, plan)
        if shipment is None:
            tools.journal.event("note", text=f"no bundle: {why}")
            recipe = recipe_of(inputs)
            name = published_name(plan.job.model.name, recipe)
            project(tools, inputs, plan, name, recipe, None, None, None)
            return PublishRecord(
                inputs_digest=inputs_digest,
                bundle=None,
                model_name=name,
                model_version=None,
                trial=None,
                certificate_digest=None,
            )
        if not plan.simulated:
            room_for_bundle(tools, shipment.model)
        bundle = tools.journal.home / "bundles" / tools.journal.job_id
        certificate, digest = _write(tools, inputs, plan, shipment, bundle)
        address = _sent(tools, plan, bundle)
        version = (
            _register(tools, plan, shipment, bundle, certificate) if shipment.registers else None
        )
        files = {p.name: raw_digest(bundle, [p.name]) for p in bundle.iterdir() if p.is_file()}
        tools.journal.event(
            "published",
            bundle=str(bundle),
            address=address,
            name=shipment.name,
            version=version,
            files=files,
        )
        shown = bundle if version else None
        project(tools, inputs, plan, shipment.name, shipment.recipe, shown, certificate, address)
        return PublishRecord(
            inputs_digest=inputs_digest,
            bundle=str(bundle),
            address=address,
            model_name=shipment.name,
            model_version=version,
            trial=shipment.trial.id if shipment.trial else None,
            certificate_digest=digest,
        )


def _sent(tools: Tools, plan: Plan, bundle: Path) -> str | None:
    """Bring the bundle where the job says; whole it is there once its list of digests is."""
    asked = plan.job.publish.uri
    if asked is None:
        return None
    return tools.remote.send(bundle, f"{asked.rstrip('/')}/{tools.journal.job_id}", plan.permit)


def published_name(model: str, recipe: str) -> str:
    """``<model>-<recipe>``, the model's name cut where the whole would be too long.

    >>> published_name("smollm2-135m", "int_w8a8")
    'smollm2-135m-int_w8a8'
    """
    return f"{model[: _LONGEST_NAME - len(recipe) - 1]}-{recipe}"


def recipe_of(inputs: Inputs) -> str:
    """The recipe of what ships; ``uncompressed`` where none was applied."""
    chosen = inputs.chosen()
    return chosen.recipe if chosen else "uncompressed"


def _shipment(inputs: Inputs, plan: Plan) -> tuple[_Shipment | None, str]:
    """What goes out, or why nothing can."""
    chosen, variant = inputs.chosen(), inputs.ships()
    if chosen is None and plan.flow.compresses and plan.job.fallback == "none":
        return None, "no candidate kept the quality, and fallback is none"
    trial = shipped_trial(inputs.benchmark, inputs.tune, variant)
    if plan.flow.measures and (trial is None or trial.rate is None):
        error = trial.error if trial else "it was not measured"
        return None, f"the engine was never seen serving it: {error}"
    model = inputs.model_of(variant)
    if trial is not None and trial.model_digest != model.digest:
        raise OptikitError(
            f"trial {trial.id} measured {trial.model_digest[:19]}..., but "
            f"{model.digest[:19]}... would ship; run the job again"
        )
    verdicts = inputs.evaluate.verdicts if inputs.evaluate and chosen else ()
    recipe = recipe_of(inputs)
    return _Shipment(
        name=published_name(plan.job.model.name, recipe),
        recipe=recipe,
        model=model,
        serving=trial.serving if trial else default_serving(plan, variant),
        trial=trial,
        quality=next((v for v in verdicts if chosen and v.candidate_id == chosen.id), None),
        simulated=plan.simulated,
    ), ""


def _write(
    tools: Tools, inputs: Inputs, plan: Plan, shipment: _Shipment, bundle: Path
) -> tuple[Certificate | None, str | None]:
    """Write the bundle; the certificate and the digest of its file."""
    engine, serving, kind = tools.engine, shipment.serving, plan.sku.kind
    version = engine.version()
    one, two = (
        engine.command(Path(MODEL), serving, kind, host=HOST, port=port, name=shipment.name)
        for port in _PORTS
    )
    command = [
        a if a == b else a.replace(str(_PORTS[0]), PORT) for a, b in zip(one, two, strict=True)
    ]
    environment = engine.environment(serving, kind)
    certificate = None
    if shipment.trial is not None:
        # asked in the pool: figures belong to the node that measures, not to the driver's
        resources = resources_for(plan, 0)  # such a node, none of its devices
        folder = tools.journal.folder("trials", shipment.trial.id)
        raw = [probe.raw for probe in shipment.trial.rate.probes] if shipment.trial.rate else []
        (machine, raw_sum), _ = attempt(
            tools, "hardware facts", resources, seen_there, folder, raw, bounded=False
        )
        certificate = certify(
            plan,
            shipment.trial,
            job_id=tools.journal.job_id,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            optikit_version=__version__,
            engine_version=version,
            command=readable(command),
            hardware=on_paper(plan.sku, serving) if plan.simulated else machine,
            simulated=plan.simulated,
            archive_digest=raw_sum,
            quality=shipment.quality,
        )
    proof = certificate.model_dump_json(indent=2) + "\n" if certificate else None
    facts = serving_facts(plan, serving, command, environment, version, certificate)
    fetched = inputs.fetched()
    origin = Origin(plan, fetched, inputs.chosen(), shipment.recipe)
    texts = {
        "serving.yaml": yaml.safe_dump(facts, sort_keys=False),
        "serve.sh": serve_script(
            command,
            environment,
            "vllm" if plan.simulated else f"{plan.job.engine.name} {version}",
            shipment.name,
            plan.simulated,
        ),
        "README.md": readme(
            plan,
            shipment.name,
            shipment.recipe,
            certificate,
            shipment.quality,
            fetched.licence,
            origin_rows(origin) if not plan.simulated else (),
        ),
    }
    if proof is not None:
        texts["certificate.json"] = proof
    licences = licence_files(Path(fetched.model.path))
    told = statement(
        origin,
        name=shipment.name,
        model=shipment.model,
        files={name: _sha256(text) for name, text in texts.items()},
        licence_files=[file.name for file in licences],
        job_id=tools.journal.job_id,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        engine_version=version,
        packages=packages(),
    )
    texts["provenance.json"] = json.dumps(told, indent=2) + "\n"

    def write() -> None:
        with appearing(bundle) as work:
            _fill(work, shipment, licences, texts)

    patiently(write, f"write the bundle {bundle}")
    return certificate, f"sha256:{_sha256(proof)}" if proof else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fill(work: Path, shipment: _Shipment, licences: list[Path], texts: Mapping[str, str]) -> None:
    """A bundle's files; without ``model/`` it cannot be served, and nothing pretends it could."""
    link_tree(Path(shipment.model.path), work if shipment.simulated else work / "model")
    for file in licences:
        link_file(file, work / file.name)
    for name, text in texts.items():
        write_text(work / name, text, mode=0o755 if name.endswith(".sh") else 0o644)


def _register(
    tools: Tools, plan: Plan, shipment: _Shipment, bundle: Path, certificate: Certificate | None
) -> str:
    """The version of the model in the registry: the next number, once a job."""
    job_id = tools.journal.job_id
    for model in tools.models.list():
        mine = model.name == shipment.name and model.tags.get("job_id") == job_id
        if mine and model.digest == shipment.model.digest:
            return model.version
    tags = {
        "job_id": job_id,
        "recipe": shipment.recipe,
        "bundle": str(bundle),
        "status": certificate.status if certificate else "not measured",
    }
    path = Path(shipment.model.path)
    added = patiently(
        lambda: tools.models.add(path, shipment.name, None, tags, permit=plan.permit),
        f"register {shipment.name}",
    )
    return added.version


STAGE = Publish()
