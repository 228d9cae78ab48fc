import json
from pathlib import Path

import pytest

from optikit.errors import BadInput
from optikit.stores.shapes import shape_of_folder, shipped_names, shipped_shape


@pytest.mark.parametrize(
    ("names", "parameters"),
    [
        (("llama-70b", "llama-3-70b"), 70.55e9),
        (("qwen2.5-7b", "qwen-2.5-7b"), 7.62e9),
        (("mistral-small-24b", "mistral-small-3-24b"), 23.57e9),
        (("smollm2-135m",), 134.5e6),
    ],
)
def test_shipped_shapes_have_the_published_number_of_parameters(
    names: tuple[str, ...], parameters: float
) -> None:
    shapes = [shipped_shape(name) for name in names]
    assert shapes[0] is not None
    assert all(shape == shapes[0] for shape in shapes)
    assert shapes[0].parameters == pytest.approx(parameters, rel=0.005)


def test_every_shipped_name_resolves_and_names_its_source() -> None:
    assert len(shipped_names()) == 7
    for name in shipped_names():
        shape = shipped_shape(name)
        assert shape is not None
        assert "config.json" in shape.source
        assert shape.heads % shape.kv_heads == 0


def test_case_of_a_shipped_name_does_not_matter() -> None:
    assert shipped_shape("Llama-70B") == shipped_shape("llama-70b")


def test_an_unknown_name_has_no_shape() -> None:
    assert shipped_shape("gpt-5") is None


def test_a_folder_without_config_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        shape_of_folder(tmp_path)
    with pytest.raises(BadInput, match="no such folder"):
        shape_of_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=r"config\.json"):
        shape_of_folder(tmp_path)


def test_a_folder_gives_its_shape(tmp_path: Path) -> None:
    config = {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = shape_of_folder(tmp_path)
    assert shape.parameters == 134_515_008
    assert shape.source == str(tmp_path / "config.json")
