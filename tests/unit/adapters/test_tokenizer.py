from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optikit.adapters.tokenizer import load_tokenizer
from optikit.core.calibration import prepare
from optikit.core.chats import Chat, chat_of, chat_of_pair
from optikit.errors import BadInput, DatasetError

pytest.importorskip("transformers")
# the library warns about itself; none of it is ours
pytestmark = pytest.mark.filterwarnings("default")

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TEMPLATE
)
CHAT = chat_of_pair(["Why?"], "Because.")


def model(folder: Path, template: str | None, *, bos: bool = False) -> Path:
    """A folder with a tokenizer of words alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocab = {"<unk>": 0, "<s>": 1, "the": 2, "cat": 3, "sat": 4}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "<unk>"])
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
        config["bos_token"] = "<s>"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_chat_is_rendered_by_the_models_own_template(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model(tmp_path, TEMPLATE))
    assert tokenizer.render(CHAT) == "[user] Why?\n[assistant] Because.\n"


def test_a_model_without_a_template_says_what_to_do(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model(tmp_path, None))
    with pytest.raises(DatasetError, match=r"no chat template.*text_field.*plain text"):
        prepare([], [CHAT], tokenizer, 8)
    assert prepare(["the cat"], [], tokenizer, 8).texts == ("the cat",)


def test_a_refused_chat_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model(tmp_path, STRICT))
    with_system = chat_of([{"role": "system", "content": "x"}, *CHAT.messages])
    ready = prepare([], [with_system, CHAT], tokenizer, 8)
    assert ready.texts == ("[user] Why?\n[assistant] Because.\n",)
    assert ready.skipped == {"chat template refuses": 1}
    with pytest.raises(DatasetError, match="no system"):
        prepare([], [with_system], tokenizer, 8)


@pytest.mark.parametrize("template", ["{{ messages[0]['content'] + 3 }}", "{% if %}"])
def test_a_template_that_fails_is_a_refusal(template: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Error: "):
        load_tokenizer(model(tmp_path, template)).render(CHAT)


def test_a_template_cannot_leave_its_sandbox(tmp_path: Path) -> None:
    escape = "{{ cycler.__init__.__globals__.os.getpid() }}"
    with pytest.raises(ValueError, match=r"SecurityError|UndefinedError"):
        load_tokenizer(model(tmp_path, escape)).render(CHAT)


def test_todays_date_is_always_the_same_day(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model(tmp_path, "{{ strftime_now('%d %b %Y') }}"))
    assert tokenizer.render(CHAT) == "01 Jan 2025"


def test_tools_reach_the_template(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model(tmp_path, "{{ tools[0]['name'] }}"))
    assert tokenizer.render(Chat(CHAT.messages, ({"name": "clock"},))) == "clock"


def test_one_beginning_of_text_is_left_where_the_tokenizer_adds_one(tmp_path: Path) -> None:
    template = "{{ bos_token }}" + TEMPLATE
    tokenizer = load_tokenizer(model(tmp_path, template, bos=True))
    text = tokenizer.render(CHAT)
    assert text.startswith("[user]")
    (ids,) = tokenizer.encode([text], 99)
    assert ids[0] == 1
    assert 1 not in ids[1:]


def test_tokens_are_counted_to_one_past_the_cut(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model(tmp_path, None))
    found = tokenizer.measure(["the cat", "the the the", "cat " * 50, ""], 3)
    assert list(found.tokens) == [2, 3, 4, 0]
    assert list(found.distinct) == [2, 1, 1, 0]
    assert list(tokenizer.encode(["the cat sat", "sat"], 2)) == [[2, 3], [4]]
    assert tokenizer.measure([], 3).tokens.shape == (0,)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(BadInput, match="cannot be opened"):
        load_tokenizer(tmp_path)
