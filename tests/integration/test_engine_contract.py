"""The real vLLM keeps the promises of every engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit.engines.base import Engine
from optikit.engines.vllm import ENGINE
from optikit.spec.serving import ServingConfig
from optikit.testing.engines import EngineContract
from tests.models import tiny_llama

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


class TestVllm(EngineContract):
    too_short_s = 2.0

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINE

    @pytest.fixture
    def model(self) -> Path:
        return tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")

    @pytest.fixture
    def serving(self) -> ServingConfig:
        return ServingConfig(max_model_len=64, max_num_seqs=8, dtype="float32", enforce_eager=True)

    @pytest.fixture
    def broken(self, serving: ServingConfig) -> ServingConfig:
        return serving.model_copy(update={"tensor_parallel": 3})  # of four heads
