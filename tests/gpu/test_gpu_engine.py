"""What only a GPU can show: the plain server under the supervisor, and memory given back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from optikit.adapters.process import members
from optikit.core.load import plan_load
from optikit.engines.vllm import ENGINE
from optikit.loadgen.openai import GENERATOR
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.serving import ServingConfig
from optikit.spec.workload import Workload
from tests.models import tiny_llama

pytestmark = pytest.mark.gpu


def used_mib() -> int:
    """Memory in use on the first GPU."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])


def test_a_server_answers_and_gives_its_memory_back(tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "tiny")
    serving = ServingConfig(max_model_len=256, max_num_seqs=16, max_num_batched_tokens=512)
    groups: list[ProcessGroup] = []
    before = used_mib()
    with ENGINE.serve(
        model,
        serving,
        "gpu",
        vocab=512,
        log=tmp_path / "engine.log",
        on_start=groups.append,
    ) as server:
        assert used_mib() > before + 1000
        workload = Workload.parse({"prompt_tokens": 32, "output_tokens": 8})
        load = plan_load(workload, None, 32, 1)
        timings = GENERATOR.run(server.endpoint, load, concurrency=8, timeout_s=120)
        assert dict(timings.errors) == {}
        assert timings.ok.all()
        assert timings.prompt_tokens.tolist() == [32] * 32
        assert timings.output_tokens.tolist() == [8] * 32
    assert members(groups[0]) == []
    assert used_mib() < before + 200
