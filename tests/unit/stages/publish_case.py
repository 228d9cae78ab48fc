"""A job up to publish, with fakes for all that publish only speaks to."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from optikit.adapters import hardware
from optikit.core.plan import make_plan
from optikit.core.shape import shape_from_config
from optikit.flows import FLOWS
from optikit.pools.base import Resources
from optikit.spec.candidate import ArtifactRef, Candidate
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.recipe import EngineFacts, RecipeFacts
from optikit.spec.record import (
    BenchmarkRecord,
    Certificate,
    CompressRecord,
    EvaluateRecord,
    FetchRecord,
    PublishRecord,
    Trial,
    TuneRecord,
)
from optikit.spec.serving import ServingConfig
from optikit.stages.base import Inputs, Tools
from optikit.stages.publish import STAGE
from optikit.stores.baselines import FileBaselines
from optikit.stores.file import FileModelStore

FACTS = EngineFacts(name="fake", serves={"cpu": ("none", "W8A8")})


class Pool:
    """Runs a task at once."""

    def submit(self, task: Callable[..., Any], *args: Any, resources: Resources) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(task(*args))
        return future


class Engine:
    """Its server is a Python one-liner."""

    facts = FACTS

    def version(self) -> str:
        return "1.0"

    def command(
        self,
        model: Path,
        serving: ServingConfig,
        device: str,
        *,
        host: str,
        port: int,
        name: str,
    ) -> list[str]:
        code = "import sys; print(sys.argv)"
        return [
            *("/a python", "-c", code, "--model", str(model)),
            *(f"--listen={host}:{port}", "--seqs", str(serving.max_num_seqs), "--name", name),
        ]

    def environment(self, serving: ServingConfig, device: str) -> dict[str, str]:
        return {"THREADS": "1"}


@dataclass
class Journal:
    """Keeps events in memory."""

    home: Path
    job_id: str = "j1"
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append((kind, facts))

    def folder(self, *parts: str) -> Path:
        path = self.home.joinpath("jobs", self.job_id, *parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


@dataclass
class Tracker:
    """Remembers what it was told, or fails."""

    name: str = "fake"
    error: Exception | None = None
    told: list[dict[str, Any]] = field(default_factory=list)

    def record(
        self,
        home: Path,
        job_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        trials: Sequence[Trial],
        bundle: Path | None,
        model_name: str,
        tags: Mapping[str, str],
    ) -> str | None:
        if self.error:
            raise self.error
        self.told.append({**locals()})
        return "7"


def model_folder(folder: Path, weight: bytes, licence: bool) -> Path:
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + weight)
    (folder / "config.json").write_text("{}")
    if licence:
        (folder / "LICENSE").write_text("Apache License\n")
    return folder


def plan(**spec: Any) -> Plan:
    config = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 256,
        "max_position_embeddings": 2048,
    }
    recipe = RecipeFacts(
        name="int_w8a8",
        summary="",
        scheme="W8A8",
        needs_calibration=False,
        default_samples=0,
        block_bytes_per_parameter=1.0,
        compute_dtype="int8",
    )
    job = OptimizationJob.parse(
        {
            "model": {"name": "m"},
            "compute": {"sku": "CPU_2"},
            "slo": ["p95(e2e) <= 500 ms"],
            "engine": "fake",
            **spec,
        }
    )
    flow = FLOWS.load(job.flow)
    shape = shape_from_config(config, "test")
    return make_plan(job, flow, shape, FACTS, [recipe] if flow.compresses else [])


def trial(name: str, model: ArtifactRef, variant: str, rate: float | None) -> Trial:
    return Trial.parse(
        {
            "id": name,
            "number": 0,
            "purpose": "benchmark" if name.startswith("b") else "tune",
            "variant": variant,
            "state": "complete",
            "model_digest": model.digest,
            "serving": {"max_model_len": 64, "max_num_seqs": 16 if name.startswith("t") else 4},
            "rate": {
                "outcome": "infeasible" if rate is None else "pass",
                "rate_rps": rate,
                "preliminary": True,
                "reason": "p95(e2e) is 900 ms" if rate is None else "held",
                "method": "doubling",
                "requests": 60,
            },
        }
    )


@dataclass
class Case:
    """A job up to publish."""

    tools: Tools
    inputs: Inputs
    plan: Plan
    journal: Journal
    tracker: Tracker
    compressed: ArtifactRef
    fetched: ArtifactRef

    @property
    def bundle(self) -> Path:
        return self.journal.home / "bundles" / "j1"

    def run(self, **inputs: Any) -> PublishRecord:
        return STAGE.run(self.tools, replace(self.inputs, **inputs), self.plan, "digest")

    def certificate(self) -> Certificate:
        return Certificate.parse(json.loads((self.bundle / "certificate.json").read_text()))

    def benchmarked(self, *trials: Trial) -> BenchmarkRecord:
        return BenchmarkRecord(inputs_digest="d", trials=trials)

    def gate(self, verdict: str) -> EvaluateRecord:
        facts = {
            "candidate_id": "c0",
            "verdict": verdict,
            "margin": 0.01,
            "reason": "as seen",
            "tasks": (),
        }
        chosen = "c0" if verdict in ("kept", "cannot tell") else None
        return EvaluateRecord(
            inputs_digest="d", verdicts=(QualityVerdict.parse(facts),), chosen=chosen
        )


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(hardware, "_gpus", list)
    home = tmp_path / "home with a space"
    store = FileModelStore(home)
    fetched = store.take(model_folder(tmp_path / "source", b"a", licence=True))
    compressed = store.take(model_folder(tmp_path / "smaller", b"b", licence=False))
    journal, tracker = Journal(home), Tracker()
    tools = Tools(
        journal=cast(Any, journal),
        pool=Pool(),
        engine=cast(Any, Engine()),
        generator=cast(Any, None),
        evaluator=cast(Any, None),
        logprobs=cast(Any, None),
        recipes={},
        tuner=cast(Any, None),
        runner=cast(Any, None),
        models=store,
        remote=cast(Any, None),
        baselines=FileBaselines(home),
        read_texts=cast(Any, None),
        tracker=tracker,
    )
    candidate = Candidate(id="c0", recipe="int_w8a8", model=compressed, wall_s=1.0)
    case = Case(tools, Inputs(), plan(), journal, tracker, compressed, fetched)
    case.inputs = Inputs(
        fetch=FetchRecord(inputs_digest="d", model=fetched, dataset=None, licence="Apache-2.0"),
        compress=CompressRecord(inputs_digest="d", candidates=(candidate,)),
        evaluate=case.gate("kept"),
        benchmark=case.benchmarked(
            trial("b0", fetched, "baseline", 3.0), trial("b1", compressed, "compressed", 2.0)
        ),
        tune=TuneRecord(
            inputs_digest="d", trials=(trial("t0", compressed, "compressed", 4.0),), winner="t0"
        ),
    )
    return case
