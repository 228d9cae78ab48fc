"""What lies beside the journal: models by content, scores of the quality gate, the bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optikit.archive import JobArchive
from optikit.core.candidates import choose
from optikit.core.certify import certify, certify_elsewhere
from optikit.core.divergence import diverge
from optikit.core.outcome import shipped_trial
from optikit.core.quality import compare
from optikit.core.recheck import differences
from optikit.errors import ArchiveError, OptikitError
from optikit.evaluators.divergence import DIVERGENCE
from optikit.journal import raw_digest
from optikit.reports._check_trials import Counted, as_findings
from optikit.spec.candidate import ArtifactRef, Candidate
from optikit.spec.elsewhere import ENDPOINT_FILE
from optikit.spec.finding import Finding
from optikit.spec.plan import Plan
from optikit.spec.quality import Divergence, ItemScores, QualityVerdict
from optikit.spec.record import (
    BenchmarkRecord,
    Certificate,
    CompressRecord,
    EvaluateRecord,
    FetchRecord,
    PublishRecord,
    StageRecord,
)
from optikit.spec.simulated import MODEL_FILE
from optikit.stages._score import TOP_K
from optikit.stages.base import Inputs
from optikit.stores.contents import folder_digest

__all__ = ["check_files"]


def check_files(
    archive: JobArchive, plan: Plan, records: Mapping[str, StageRecord], counted: Counted
) -> Iterator[Finding]:
    """What of the files is not what the records and the journal say."""
    collected = _collected(archive)
    for what, artifact in () if archive.pulled else _artifacts(records):
        if (
            artifact.digest.removeprefix("sha256:") in collected
            and not Path(artifact.path).exists()
        ):
            continue  # somebody said that it may go
        yield from _content(what, Path(artifact.path), artifact.digest, plan, counted)
    compress, evaluate = records.get("compress"), records.get("evaluate")
    if isinstance(evaluate, EvaluateRecord):
        made = compress.candidates if isinstance(compress, CompressRecord) else ()
        yield from _quality(archive, plan, evaluate, made, counted)
    measured = records.get("benchmark")
    if isinstance(measured, BenchmarkRecord) and measured.certificate_digest is not None:
        yield from _own_certificate(archive, plan, measured)
    publish = records.get("publish")
    if isinstance(publish, PublishRecord) and publish.bundle is not None and not archive.pulled:
        inputs = Inputs()
        for record in records.values():
            inputs = inputs.plus(record)
        yield from _bundle(archive, plan, publish, inputs, counted)


def _collected(archive: JobArchive) -> set[str]:
    """Digests of artifacts that ``optikit archive gc`` took from a job that stays."""
    found: set[str] = set()
    for event in archive.of_kind("collected"):
        digests = event.get("artifacts")
        found.update(map(str, digests if isinstance(digests, list) else ()))
    return found


def _artifacts(records: Mapping[str, StageRecord]) -> Iterator[tuple[str, ArtifactRef]]:
    fetch, compress = records.get("fetch"), records.get("compress")
    if isinstance(fetch, FetchRecord):
        yield "the fetched model", fetch.model
        if fetch.dataset is not None:
            yield "the dataset", fetch.dataset
    for candidate in compress.candidates if isinstance(compress, CompressRecord) else ():
        if candidate.model is not None:
            yield f"candidate {candidate.id}", candidate.model


def _content(
    what: str, folder: Path, written: str, plan: Plan, counted: Counted
) -> Iterator[Finding]:
    """A folder by content: of a simulated model its one file counts."""
    if str(folder) in counted.seen:
        return
    counted.seen.add(str(folder))
    if not folder.is_dir():
        yield Finding(kind="missing", where=f"{what} ({folder})", recorded=written)
        return
    try:
        if plan.simulated or plan.elsewhere:
            found = raw_digest(folder, [ENDPOINT_FILE if plan.elsewhere else MODEL_FILE])
            counted.files += 1
        else:
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            names = [path.relative_to(folder).as_posix() for path in files]
            found = f"sha256:{folder_digest(folder, names)}"
            counted.files += len(names)
    except OSError as error:
        yield Finding(kind="unreadable", where=f"{what} ({folder})", recorded=str(error))
        return
    if found != written:
        yield Finding(kind="digest", where=f"{what} ({folder})", recorded=written, derived=found)


# -- the quality gate


def _quality(
    archive: JobArchive,
    plan: Plan,
    evaluate: EvaluateRecord,
    candidates: Sequence[Candidate],
    counted: Counted,
) -> Iterator[Finding]:
    """Verdicts from the scores of the items, and who goes on."""
    root = archive.root / "quality"
    written = {str(event.get("of")): event.get("files") for event in archive.of_kind("scores")}
    for name, files in written.items():
        folder = root / Path(name).name / "scores"
        if isinstance(files, dict):
            yield from _files(f"quality/{name}/scores", folder, files, counted)
    for verdict in evaluate.verdicts:
        if not verdict.tasks:
            continue
        where = f"quality of {verdict.candidate_id}"
        try:
            derived = _verdict(root, plan, verdict)
        except OptikitError as error:
            yield Finding(kind="unreadable", where=where, recorded=str(error)[:300])
            continue
        yield from as_findings(where, list(differences(verdict, derived)))
    choice = choose(plan, candidates, evaluate.verdicts)
    if choice.candidate != evaluate.chosen:
        yield Finding(
            kind="figure",
            where="record of evaluate: chosen",
            recorded=evaluate.chosen,
            derived=choice.candidate,
        )


def _verdict(root: Path, plan: Plan, verdict: QualityVerdict) -> QualityVerdict:
    baseline = root / "baseline" / "scores"
    mine = root / Path(verdict.candidate_id).name / "scores"
    count = len(list(baseline.glob("items-*.jsonl")))
    runs = [_items(baseline / f"items-{run + 1}.jsonl") for run in range(count)]
    found = compare(
        runs, _items(mine / "items-1.jsonl"), plan.job.quality.margin, verdict.candidate_id
    )
    return found.model_copy(update={"divergence": _divergence(baseline, mine, plan, count)})


def _divergence(baseline: Path, mine: Path, plan: Plan, runs: int) -> Divergence | None:
    first, theirs, again = (
        *(baseline / "logprobs-1.npz", mine / "logprobs-1.npz"),
        baseline / "logprobs-2.npz",
    )
    if not first.exists() or not theirs.exists():
        return None
    return diverge(
        DIVERGENCE.load(first),
        DIVERGENCE.load(theirs),
        top_k=TOP_K,
        seed=plan.job.flow_params.calibration_seed,
        baseline_again=DIVERGENCE.load(again) if runs > 1 and again.exists() else None,
    )


def _items(file: Path) -> tuple[ItemScores, ...]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError, RecursionError) as error:
        raise ArchiveError(f"{file} cannot be read: {error}") from None
    return tuple(ItemScores.parse(row, str(file)) for row in rows)


# -- what shipped


def _bundle(
    archive: JobArchive, plan: Plan, publish: PublishRecord, inputs: Inputs, counted: Counted
) -> Iterator[Finding]:
    bundle = Path(str(publish.bundle))
    if not bundle.is_dir():
        yield Finding(kind="missing", where=f"the bundle {bundle}")
        return
    said = archive.of_kind("published")
    files = said[-1].get("files") if said else None
    if isinstance(files, dict):
        yield from _files(f"bundles/{bundle.name}", bundle, files, counted)
    model = inputs.model_of(inputs.ships())
    served = bundle if plan.simulated else bundle / "model"
    yield from _content("the bundle's model", served, model.digest, plan, counted)
    yield from _certificate(archive, plan, publish, inputs, bundle)


def _certificate(
    archive: JobArchive, plan: Plan, publish: PublishRecord, inputs: Inputs, bundle: Path
) -> Iterator[Finding]:
    """The certificate is the shipped trial's, word for word."""
    ships = inputs.ships()
    chosen = inputs.chosen()
    if chosen is not None:
        plan = plan.going_on(chosen.recipe)
    trial = shipped_trial(inputs.benchmark, inputs.tune, ships)
    derived = trial.id if trial else None
    if derived != publish.trial:
        where = "record of publish: trial"
        yield Finding(kind="figure", where=where, recorded=publish.trial, derived=derived)
    if publish.certificate_digest is None or trial is None or trial.rate is None:
        return
    where, file = f"bundles/{bundle.name}/certificate.json", bundle / "certificate.json"
    found = yield from _read_certificate(where, file, publish.certificate_digest)
    if found is None:
        return
    verdicts = inputs.evaluate.verdicts if inputs.evaluate and chosen else ()
    folder = archive.root / "trials" / Path(trial.id).name
    again = certify(
        plan,
        trial,
        job_id=archive.job_id,
        created=found.created,
        optikit_version=found.optikit_version,
        engine_version=found.engine_version,
        command=found.command,
        hardware=found.hardware,
        simulated=plan.simulated,
        archive_digest=raw_digest(folder, [probe.raw for probe in trial.rate.probes]),
        quality=next((v for v in verdicts if chosen and v.candidate_id == chosen.id), None),
    )
    yield from as_findings(where, list(differences(found, again)))


def _read_certificate(
    where: str, file: Path, written: str
) -> Generator[Finding, None, Certificate | None]:
    try:
        proof = file.read_bytes()
        found = Certificate.parse(json.loads(proof))
    except (OSError, ValueError, RecursionError, OptikitError) as error:
        yield Finding(kind="unreadable", where=where, recorded=str(error)[:200])
        return None
    digest = f"sha256:{hashlib.sha256(proof).hexdigest()}"
    if digest != written:
        yield Finding(kind="digest", where=where, recorded=written, derived=digest)
    return found


def _own_certificate(
    archive: JobArchive, plan: Plan, measured: BenchmarkRecord
) -> Iterator[Finding]:
    """The certificate of somebody else's server is its trial's, word for word."""
    where, file = "certificate.json", archive.root / "certificate.json"
    found = yield from _read_certificate(where, file, str(measured.certificate_digest))
    trial = measured.trials[0]
    if found is None or trial.rate is None:
        return
    folder = archive.root / "trials" / Path(trial.id).name
    again = certify_elsewhere(
        plan,
        trial,
        job_id=archive.job_id,
        created=found.created,
        optikit_version=found.optikit_version,
        client=found.client,
        archive_digest=raw_digest(folder, [probe.raw for probe in trial.rate.probes]),
    )
    yield from as_findings(where, list(differences(found, again)))


def _files(
    where: str, folder: Path, written: Mapping[str, Any], counted: Counted
) -> Iterator[Finding]:
    """Files against the digests that the journal has of them."""
    for name, digest in written.items():
        counted.files += 1
        found = raw_digest(folder, [Path(name).name])
        if found is None:
            yield Finding(kind="missing", where=f"{where}/{name}", recorded=digest)
        elif found != digest:
            yield Finding(kind="digest", where=f"{where}/{name}", recorded=digest, derived=found)
