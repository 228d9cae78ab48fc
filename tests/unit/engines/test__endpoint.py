from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optikit.adapters.http_get import Answer
from optikit.engines import _endpoint
from optikit.engines._endpoint import ServerFacts, checker, key_of, key_warnings, look_at, must_fit
from optikit.errors import BadInput, DoesNotFit, EngineDied, UnknownName
from optikit.spec.endpoint import Endpoint
from optikit.spec.workload import Workload

URL = "http://h:8000"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """What the server says, by path; 404 where nothing is said."""
    said: dict[str, Answer] = {}

    def get(url: str, api_key: str | None = None, timeout_s: float = 1.0) -> Answer:
        return said.get(url.removeprefix(URL), Answer(404, text="Not Found"))

    monkeypatch.setattr(_endpoint, "get_json", get)
    return said


def models(*names: str, **facts: Any) -> Answer:
    rows = [{"id": name, **facts} for name in names]
    return Answer(200, {"object": "list", "data": rows}, headers={"server": "uvicorn"})


def test_a_vllm_server_says_its_version_and_context(answers: dict[str, Answer]) -> None:
    answers["/v1/models"] = models("m", owned_by="vllm", max_model_len=512)
    answers["/version"] = Answer(200, {"version": "0.32.0"})
    assert look_at(URL, None, None) == ServerFacts("m", 512, "vllm", "0.32.0")
    assert look_at(URL, "m", None).name == "vllm 0.32.0"


@pytest.mark.parametrize("said", [{}, {"owned_by": "me", "max_model_len": "long"}])
def test_a_server_that_says_little(answers: dict[str, Answer], said: dict[str, Any]) -> None:
    answers["/v1/models"] = models("m", **said)
    facts = look_at(URL, "m", None)
    assert facts == ServerFacts("m", None, "uvicorn", "unknown")
    assert facts.name == "uvicorn"


def test_what_a_server_calls_itself_is_cut_and_plain(answers: dict[str, Answer]) -> None:
    answers["/v1/models"] = models("m")
    answers["/version"] = Answer(200, {"version": "1\x1b[31m"})
    assert look_at(URL, "m", None).version == "unknown"
    answers["/version"] = Answer(200, {"version": "x" * 1000})
    assert len(look_at(URL, "m", None).version) == 80


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(None, text="connection refused"), BadInput, "cannot reach .*connection refused"),
        (Answer(404, text="Not Found"), BadInput, "speaks no OpenAI API: .*HTTP 404: Not Found"),
        (Answer(200, None, "<html>"), BadInput, "speaks no OpenAI API: .*<html>"),
        (Answer(200, {"data": "x"}, "x"), BadInput, "speaks no OpenAI API"),
        (Answer(500, text=""), BadInput, "HTTP 500: \\(nothing\\)"),
        (Answer(401, {}), BadInput, "asks for a key .*--api-key-env"),
        (models("a", "b"), UnknownName, "serves no model 'm'.*Known: a, b"),
        (models(), UnknownName, "serves no model 'm'"),
    ],
)
def test_a_server_that_cannot_be_used(
    answers: dict[str, Answer], answer: Answer, error: type[Exception], words: str
) -> None:
    answers["/v1/models"] = answer
    with pytest.raises(error, match=words) as caught:
        look_at(URL, "m", None)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_refused(answers: dict[str, Answer]) -> None:
    answers["/v1/models"] = Answer(401, {})
    with pytest.raises(BadInput, match="refused the key") as caught:
        look_at(URL, "m", "s3cret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("names", [("a", "b"), ()])
def test_a_model_must_be_named_unless_there_is_one(
    answers: dict[str, Answer], names: tuple[str, ...]
) -> None:
    answers["/v1/models"] = models(*names)
    with pytest.raises(BadInput, match=rf"serves {len(names)} models; name one with --model"):
        look_at(URL, None, None)


def test_a_workload_longer_than_the_context() -> None:
    workload = Workload.parse({"prompt_tokens": 100, "output_tokens": 29})
    must_fit(workload, ServerFacts("m", 129, "vllm", "1"))
    must_fit(workload, ServerFacts("m", None, "vllm", "1"))
    with pytest.raises(DoesNotFit, match=r"129 tokens \(100 prompt \+ 29 output\).*holds 128"):
        must_fit(workload, ServerFacts("m", 128, "vllm", "1"))


def test_a_server_is_gone_when_nothing_answers(answers: dict[str, Answer]) -> None:
    check = checker(Endpoint(base_url=URL, model="m", vocab=9))
    check()  # an error status is a sign of life
    answers["/v1/models"] = Answer(None, text="connection refused")
    with pytest.raises(EngineDied, match="is gone: connection refused"):
        check()


def test_a_key_comes_from_its_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_of(None) is None
    monkeypatch.setenv("MY_KEY", " s3cret\n")
    assert key_of("MY_KEY") == "s3cret"
    for bad in ("", "  ", "two words", "a\x07b", "é"):
        monkeypatch.setenv("MY_KEY", bad)
        with pytest.raises(BadInput, match="MY_KEY") as caught:
            key_of("MY_KEY")
        assert not bad.strip() or bad not in str(caught.value)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(BadInput, match="MY_KEY is not set"):
        key_of("MY_KEY")


def test_a_key_comes_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret\n")
    assert key_of(None, str(file)) == "s3cret"
    with pytest.raises(BadInput, match="give one of them"):
        key_of("MY_KEY", str(file))
    file.write_text(" \n")
    with pytest.raises(BadInput, match="is empty"):
        key_of(None, str(file))
    file.write_text("two words")
    with pytest.raises(BadInput, match="a blank") as caught:
        key_of(None, str(file))
    assert "two" not in str(caught.value)
    with pytest.raises(BadInput, match="--api-key-file: cannot read"):
        key_of(None, str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://10.0.0.1:8000", True),
        ("http://example.org", True),
        ("https://example.org", False),
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000", False),
    ],
)
def test_a_key_in_the_clear_is_warned_of(url: str, warned: bool) -> None:
    found = key_warnings(Endpoint(base_url=url, model="m", vocab=9, api_key="s3cret"))
    assert bool(found) is warned
    assert "s3cret" not in "".join(found)
    assert key_warnings(Endpoint(base_url=url, model="m", vocab=9)) == []
