"""A model that brings code: refused, or run where job and site both say so."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from optikit.adapters.tokenizer import load_tokenizer
from optikit.engines.vllm import ENGINE
from optikit.errors import BadInput, UnsafeInput
from optikit.recipes import RECIPES
from optikit.spec.endpoint import ProcessGroup
from optikit.spec.permit import Permit
from optikit.spec.serving import ServingConfig
from optikit.stores.file import FileModelStore
from tests.models import tiny_llama

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # the library warns about itself
]
ROOT = Path(__file__).parents[2]
CODE = """
from pathlib import Path
from transformers import LlamaConfig
Path({ran!r}).touch()
class OwnConfig(LlamaConfig):
    model_type = "llama"
"""

MODELING = """
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Appears when the model's code runs."""
    return tmp_path / "the code ran"


@pytest.fixture
def model(tmp_path: Path, ran: Path) -> Path:
    folder = tmp_path / "own"
    shutil.copytree(tiny_llama(ROOT / ".cache" / "models" / "tiny-llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_own.py").write_text(CODE.format(ran=str(ran)))
    (folder / "modeling_own.py").write_text(MODELING)
    return folder


def test_code_runs_where_it_is_permitted_and_goes_with_the_model(
    model: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    store = FileModelStore(tmp_path / "home")
    with pytest.raises(UnsafeInput, match="is code"):
        store.take(model)
    taken = store.take(model, permit=Permit(code=True))
    assert taken.brings_code
    recipe = RECIPES.load("int_w8a8_rtn")
    out = tmp_path / "out"
    with contextlib.suppress(BadInput):  # the library may take its own class, or refuse
        recipe.compress(Path(taken.path), tmp_path / "no", (), max_tokens=32, seed=0)
    assert not ran.exists()
    load_tokenizer(Path(taken.path))
    assert not ran.exists()
    recipe.compress(Path(taken.path), out, (), max_tokens=32, seed=0, code=True)
    assert ran.exists()
    assert (out / "configuration_own.py").is_file()
    assert "auto_map" in json.loads((out / "config.json").read_text())
    with pytest.raises(UnsafeInput, match="is code"):
        store.take(out)
    assert store.take(out, move=True, permit=Permit(code=True)).brings_code


def test_a_server_runs_it_only_when_told(
    model: Path, ran: Path, tmp_path: Path, groups: list[ProcessGroup]
) -> None:
    base = ServingConfig(max_model_len=64, max_num_seqs=4, dtype="float32", enforce_eager=True)
    for trusted in (False, True):
        serving = base.model_copy(update={"trust_remote_code": trusted})
        words = ENGINE.command(model, serving, "cpu", host="127.0.0.1", port=1)
        assert ("--trust-remote-code" in words) is trusted
    serving = base.model_copy(update={"trust_remote_code": True})
    with ENGINE.serve(
        model,
        serving,
        "cpu",
        vocab=512,
        log=tmp_path / "engine.log",
        start_timeout_s=240.0,
        on_start=groups.append,
    ):
        assert ran.exists()
