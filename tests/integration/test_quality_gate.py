"""Several recipes in one job on the real engine: who is kept, lost, or cannot be served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optikit.api import Job, leftovers
from optikit.spec.record import CompressRecord, EvaluateRecord
from tests.models import tiny_llama
from tests.running import ROOT, run, write_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

SMOLLM = ROOT / ".cache/models/smollm2-135m"
ITEMS = 16
BROKEN = '''
"""Breaks a model: the weights of its first block are shuffled."""

import shutil

from optikit.recipes.base import Compressed
from optikit.recipes.int_w8a8_rtn import RECIPE as RTN


class Shuffled:
    facts = RTN.facts.model_copy(update={"name": "shuffled"})

    def compress(self, model, out, samples, *, max_tokens, seed, memory_bytes=None):
        import torch
        from safetensors.torch import load_file, save_file

        shutil.copytree(model, out)
        draw = torch.Generator().manual_seed(seed)
        for file in out.glob("*.safetensors"):
            tensors = load_file(file)
            for name, tensor in tensors.items():
                if ".layers.0." in name and tensor.ndim == 2:
                    order = torch.randperm(tensor.numel(), generator=draw)
                    tensors[name] = tensor.flatten()[order].reshape(tensor.shape).contiguous()
            save_file(tensors, file, metadata={"format": "pt"})
        return Compressed()


RECIPE = Shuffled()
'''
UNDECLARED = '''
"""Writes NVFP4, for which no CPU has a kernel, and claims W8A8."""

from optikit.recipes import OneShot
from optikit.recipes.nvfp4 import RECIPE as NVFP4

CLAIM = {"name": "undeclared", "scheme": "W8A8", "compute_dtype": "int8"}
RECIPE = OneShot(facts=NVFP4.facts.model_copy(update=CLAIM), steps=NVFP4.steps)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed package with two recipes that break things."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "breaks_models.py").write_text(BROKEN)
    (folder / "breaks_engines.py").write_text(UNDECLARED)
    facts = folder / "breaks_models-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: breaks-models\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(
        "[optikit.recipes]\nshuffled = breaks_models:RECIPE\nundeclared = breaks_engines:RECIPE\n"
    )
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package))
        for name, model in (
            ("smollm2-135m", SMOLLM),
            ("tiny", tiny_llama(ROOT / ".cache/models/tiny-llama")),
        ):
            run(folder, "models", "add", str(model), "--name", name, "--version", "1")
        yield folder
    assert leftovers(folder) == []


def evaluate(home: Path, folder: Path, model: str, *recipes: str) -> Job:
    """A job that tries these recipes, at its end."""
    spec = write_spec(
        folder,
        flow="evaluate",
        model={"name": model, "version": "1"},
        flow_params={
            "recipe": list(recipes),
            "calibration_samples": 16,
            "calibration_tokens": 64,
        },
        quality={"limit": ITEMS, "divergence_documents": 8, "divergence_tokens": 64},
    )
    said = json.loads(run(home, "submit", spec, "--json", "--pool", "process", timeout=900))
    return Job.open(said["id"], home)


@pytest.fixture(scope="module")
def small(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """SmolLM2: what two recipes keep, and what shuffled weights lose."""
    folder = tmp_path_factory.mktemp("small")
    return evaluate(home, folder, "smollm2-135m", "int_w8a8", "int_w8a8_rtn", "shuffled")


@pytest.fixture(scope="module")
def tiny(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A tiny random model: schemes that are slow or have no kernel on a CPU."""
    folder = tmp_path_factory.mktemp("tiny")
    return evaluate(home, folder, "tiny", "fp8_dynamic", "int_w4a16", "nvfp4", "undeclared")


def verdicts(job: Job) -> dict[str, Any]:
    record = job.archive.records()["evaluate"]
    assert isinstance(record, EvaluateRecord)
    return {v.candidate_id.split("-", 1)[-1]: v for v in record.verdicts}


@pytest.mark.parametrize("name", ["int_w8a8", "int_w8a8_rtn"])
def test_a_recipe_that_the_engine_serves_opens_answers_and_is_scored(small: Job, name: str) -> None:
    verdict = verdicts(small)[name]
    assert verdict.verdict in ("kept", "cannot tell"), verdict.reason
    (task,) = verdict.tasks
    assert (task.task, task.items, task.runs) == ("everyday_facts", ITEMS, 3)
    assert task.recovery > 0.8
    assert 0 < verdict.divergence.kl.value < 0.5
    assert verdict.divergence.top1_agreement.value > 0.7


def test_a_broken_model_is_lost(small: Job) -> None:
    verdict = verdicts(small)["shuffled"]
    assert verdict.verdict == "lost"
    kept = verdicts(small)["int_w8a8"]
    assert verdict.divergence.kl.value > 10 * kept.divergence.kl.value
    assert verdict.divergence.perplexity_ratio.low > 1.5
    chosen = small.archive.records()["evaluate"]
    assert isinstance(chosen, EvaluateRecord)
    assert chosen.chosen in ("c0-int_w8a8", "c1-int_w8a8_rtn")


def test_the_archive_tells_how_each_candidate_was_made(small: Job) -> None:
    record = small.archive.records()["compress"]
    assert isinstance(record, CompressRecord)
    made = {candidate.recipe: candidate for candidate in record.candidates}
    assert (made["int_w8a8"].samples, made["int_w8a8_rtn"].samples) == (16, 0)
    assert made["int_w8a8"].sample_digest is not None
    assert len(made["int_w8a8"].layer_errors) == 30 * 7
    baseline = (SMOLLM / "model.safetensors").stat().st_size
    for name in ("int_w8a8", "int_w8a8_rtn"):
        assert made[name].model.size_bytes < 0.8 * baseline  # type: ignore[union-attr]
        assert made[name].peak_memory_bytes > baseline
        assert made[name].wall_s > 0
    assert record.dataset is not None
    assert (record.dataset.rows, record.dataset.usable) == (320, 320)


def test_fp8_is_served_and_scored(tiny: Job) -> None:
    verdict = verdicts(tiny)["fp8_dynamic"]
    assert verdict.verdict in ("kept", "cannot tell", "lost"), verdict.reason
    assert verdict.tasks[0].items == ITEMS
    assert verdict.divergence.kl.value > 0


def test_a_scheme_without_kernel_is_unsupported_and_the_job_goes_on(tiny: Job) -> None:
    said = json.dumps(list(tiny.archive.of_kind("note")))
    found = verdicts(tiny)
    for name in (
        "nvfp4",
        "undeclared",
    ):  # known before any work, and found out at the first request
        assert found[name].verdict == "unsupported", found[name].reason
        assert name in said
    assert "no kernel on cpu" in found["nvfp4"].reason
    assert "likely cause: no kernel" in found["undeclared"].reason


def test_int4_is_served_where_the_cpu_has_its_kernel_and_unsupported_elsewhere(tiny: Job) -> None:
    verdict = verdicts(tiny)["int_w4a16"]
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        assert verdict.tasks[0].items == ITEMS, verdict.reason
    else:
        assert verdict.verdict == "unsupported", verdict.reason
