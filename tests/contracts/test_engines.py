"""Engines that need no environment of their own; vLLM: tests/integration, SGLang: tests/gpu."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from optikit.engines import ENGINES
from optikit.engines.base import Engine
from optikit.engines.sglang import Sglang
from optikit.errors import DoesNotFit
from optikit.spec.elsewhere import ENDPOINT_FILE, KeyRef, RemoteModel
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import MODEL_FILE, SimulatedModel
from optikit.spec.sku import ResourceSKU
from optikit.stores.shapes import shipped_shape
from optikit.testing.engines import EngineContract, Serve
from tests.servers import Server, served
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


class TestOpenAI(EngineContract):
    """Against a real HTTP server that speaks the OpenAI API, without a model behind it."""

    processes = False
    stop: ClassVar[Callable[[], None]]

    @pytest.fixture
    def running(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINES.load("openai")

    @pytest.fixture
    def model(self, tmp_path: Path, running: ExitStack) -> Path:
        (tmp_path / "key").write_text("s3cret\n")
        endpoint = running.enter_context(served(Server(api_key="s3cret")))
        key = KeyRef(file=str(tmp_path / "key"))
        asked = RemoteModel(url=endpoint.base_url, model="fake", key=key)
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / ENDPOINT_FILE).write_text(asked.model_dump_json())
        TestOpenAI.stop = running.close
        return folder

    @pytest.fixture
    def serving(self) -> ServingConfig:
        return ServingConfig(max_model_len=64)

    def kill(self, groups: list[ProcessGroup]) -> None:
        TestOpenAI.stop()

    def test_a_start_that_fails_says_why(
        self, serve: Serve, serving: ServingConfig, groups: list[ProcessGroup]
    ) -> None:
        """It starts nothing: what can be wrong is what it was given."""
        long = serving.model_copy(update={"max_model_len": 5000})
        with pytest.raises(DoesNotFit, match=r"5000 tokens.*holds 4096"), serve(long):
            pytest.fail("it must not be measured")
