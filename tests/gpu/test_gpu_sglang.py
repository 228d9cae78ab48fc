"""The real SGLang: needs a GPU, and an environment that ``$OPTIKIT_SGLANG_PYTHON`` names.

No machine of ours has had both yet: what is asserted here was never seen to pass.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from optikit.adapters.process import members
from optikit.engines._sglang_flags import ALLOWED, FLAGS
from optikit.engines.base import Engine
from optikit.engines.sglang import ENGINE
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.serving import ServingConfig
from optikit.testing.engines import EngineContract
from tests.gpu.test_gpu_engine import used_mib
from tests.models import tiny_llama

pytestmark = pytest.mark.gpu

SERVING = ServingConfig(
    max_model_len=256, max_num_seqs=16, max_num_batched_tokens=512, gpu_memory_utilization=0.5
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


class TestSglang(EngineContract):
    device = "gpu"
    too_short_s = 2.0

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINE

    @pytest.fixture
    def model(self, tiny: Path) -> Path:
        return tiny

    @pytest.fixture
    def serving(self) -> ServingConfig:
        return SERVING

    @pytest.fixture
    def broken(self) -> ServingConfig:
        flags = (("attention-backend", "no_such_backend"),)
        return SERVING.model_copy(update={"extra_flags": flags})


def test_a_server_gives_its_memory_back(tiny: Path, tmp_path: Path) -> None:
    groups: list[ProcessGroup] = []
    before = used_mib()
    log = tmp_path / "engine.log"
    with ENGINE.serve(tiny, SERVING, "gpu", vocab=512, log=log, on_start=groups.append):
        assert used_mib() > before + 1000
    assert members(groups[0]) == []
    assert used_mib() < before + 200


def test_every_flag_of_the_table_exists() -> None:
    words = [str(ENGINE.interpreter()), "-m", "sglang.launch_server", "--help"]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout
    named = [*ALLOWED, *(flag for flags in FLAGS.values() for flag in flags)]
    assert [flag for flag in named if f"--{flag}" not in told] == []
