"""Engines that need no environment of their own; vLLM: tests/integration, SGLang: tests/gpu."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit.engines import ENGINES
from optikit.engines.base import Engine
from optikit.engines.sglang import Sglang
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import MODEL_FILE, SimulatedModel
from optikit.spec.sku import ResourceSKU
from optikit.stores.shapes import shipped_shape
from optikit.testing.engines import EngineContract
from tests.sglang_double import environment


class TestSimulated(EngineContract):
    processes = False

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINES.load("simulated")

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        shape = shipped_shape("smollm2-135m")
        assert shape is not None
        described = SimulatedModel(shape=shape, recipe=None, sku=ResourceSKU.CPU_2.facts)
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / MODEL_FILE).write_text(described.model_dump_json())
        return folder

    @pytest.fixture
    def serving(self) -> ServingConfig:
        return ServingConfig(max_model_len=64, max_num_seqs=8, dtype="float32", enforce_eager=True)

    @pytest.fixture
    def broken(self, serving: ServingConfig) -> ServingConfig:
        return serving.model_copy(update={"data_parallel": 4})

    @pytest.mark.skip(reason="there is no server that could die")
    def test_a_server_that_died_is_noticed(self) -> None:  # type: ignore[override]
        pass


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("sglang") / "venv")


class TestSglangDouble(EngineContract):
    """A double of SGLang's process, not SGLang: see tests/sglang_double.py."""

    device = "gpu"
    start_timeout_s = 60.0

    @pytest.fixture
    def engine(self, python: Path) -> Engine:
        return Sglang(python)

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        folder = tmp_path / "tiny"
        folder.mkdir()
        return folder

    @pytest.fixture
    def serving(self) -> ServingConfig:
        return ServingConfig(max_model_len=64, max_num_seqs=8)

    @pytest.fixture
    def broken(self, serving: ServingConfig) -> ServingConfig:
        flags = (("attention-backend", "no_such_backend"),)
        return serving.model_copy(update={"extra_flags": flags})
