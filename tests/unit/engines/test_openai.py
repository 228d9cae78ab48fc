from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optikit.adapters.http_get import Answer
from optikit.engines import ENGINES, openai
from optikit.engines._endpoint import ServerFacts, what_it_says
from optikit.engines.base import Engine
from optikit.engines.openai import ENGINE
from optikit.errors import BadInput, EngineStartFailed
from optikit.spec.elsewhere import ENDPOINT_FILE, KeyRef, RemoteModel
from optikit.spec.endpoint import Endpoint
from optikit.spec.serving import ServingConfig

SERVING = ServingConfig(max_model_len=64)
URL = "http://127.0.0.1:9"
WHOLE = Answer(200, {"usage": {"completion_tokens": 4}})
Posts = list[dict[str, Any]]
Takes = Callable[[dict[str, Any]], Answer]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = ServerFacts("m", 128, "vllm", "0.32.0")
    monkeypatch.setattr(openai, "look_at", lambda *a: facts)
    monkeypatch.setattr(openai, "what_it_says", lambda *a: {"engine": "vllm"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, says: None) -> Callable[[Takes], Posts]:
    def answering(takes: Takes) -> Posts:
        seen: Posts = []

        def post(url: str, body: dict[str, Any], key: str | None, timeout_s: float) -> Answer:
            seen.append({**body, "url": url.removeprefix(URL), "key": key})
            return takes(body)

        monkeypatch.setattr(openai, "post_json", post)
        return seen

    return answering


def folder(tmp_path: Path, **given: Any) -> Path:
    asked = RemoteModel.parse({"url": f"{URL}/v1", "model": "m", **given})
    (tmp_path / ENDPOINT_FILE).write_text(asked.model_dump_json())
    return tmp_path


def serve(model: Path) -> dict[str, str]:
    with ENGINE.serve(model, SERVING, "cpu", vocab=50, log=model / "log") as found:
        assert found.endpoint.base_url == URL
        assert found.command == ()
        return dict(found.says)


def test_it_is_the_engine_of_that_name_and_holds_the_protocol() -> None:
    engine: Engine = ENGINES.load("openai")
    assert engine is ENGINE
    assert engine.facts.elsewhere


def test_the_first_request_is_put_as_the_load_is(
    tmp_path: Path, server: Callable[[Takes], Posts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIRS", "s3cret")
    seen = server(lambda body: WHOLE)
    model = folder(tmp_path, key={"env": "THEIRS"})
    assert serve(model) == {"engine": "vllm"}
    assert len(seen) == 1
    assert (seen[0]["url"], seen[0]["key"]) == ("/v1/completions", "s3cret")
    assert (seen[0]["max_tokens"], seen[0]["min_tokens"], seen[0]["ignore_eos"]) == (4, 4, True)
    assert all(0 <= token < 50 for token in seen[0]["prompt"])
    assert "s3cret" not in (model / "log").read_text()

    serve(folder(tmp_path, api="chat", prompts="text", enforce_length=False))
    assert seen[1]["url"] == "/v1/chat/completions"
    assert seen[1]["messages"][0]["role"] == "user"
    assert "min_tokens" not in seen[1]


def refuses(**what: Any) -> Takes:
    """A server that takes no request with these keys, or no prompts of this type."""

    def takes(body: dict[str, Any]) -> Answer:
        for key, kind in what.items():
            if isinstance(body.get(key), kind):
                return Answer(400, text=f"no {key} here")
        return WHOLE

    return takes


@pytest.mark.parametrize(
    ("takes", "said"),
    [
        (refuses(min_tokens=int), "refuses min_tokens or ignore_eos .*enforce_length: false"),
        (refuses(prompt=list), "refuses prompts of token ids .*engine.prompts: text"),
        (refuses(prompt=(list, str)), "takes chats alone .*engine.api: chat"),
        (lambda body: Answer(404, text="not here"), "refuses the first completion: HTTP 404: not"),
        (lambda body: Answer(200, {}, "{}"), "does not say how many tokens"),
        (lambda body: Answer(200, {"usage": {"completion_tokens": 2}}), "answered 2.*false"),
    ],
)
def test_what_it_does_not_take_is_found_and_named(
    tmp_path: Path, server: Callable[[Takes], Posts], takes: Takes, said: str
) -> None:
    server(takes)
    with pytest.raises(BadInput, match=said):
        serve(folder(tmp_path))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(Answer(None, text="no answer in time"), "timeout"), (Answer(500, text="oh"), "crash")],
)
def test_a_server_that_fails_is_no_fault_of_the_spec(
    tmp_path: Path, server: Callable[[Takes], Posts], answer: Answer, cause: str
) -> None:
    server(lambda body: answer)
    with pytest.raises(EngineStartFailed, match="gave no whole completion") as error:
        serve(folder(tmp_path))
    assert error.value.cause == cause


def test_a_server_that_repeats_the_key_does_not_tell_it(
    tmp_path: Path, server: Callable[[Takes], Posts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIRS", "s3cret")
    server(lambda body: Answer(400, text="bad key s3cret"))
    with pytest.raises(BadInput) as error:
        serve(folder(tmp_path, key=KeyRef(env="THEIRS").model_dump()))
    assert "s3cret" not in str(error.value)


def test_flags_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    flagged = SERVING.model_copy(update={"extra_flags": (("swap-space", 4),)})
    with pytest.raises(BadInput, match="somebody else started"):
        ENGINE.check(flagged, "cpu")
    with pytest.raises(BadInput, match="which server to measure"):
        serve(tmp_path)


def test_a_key_outside_the_roots_is_not_read(tmp_path: Path, says: None) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "theirs").write_text("s3cret")
    (tmp_path / "team" / "key").symlink_to(tmp_path / "theirs")
    key = {"file": str(tmp_path / "team" / "key")}
    model = folder(tmp_path, key=key, roots=[str(tmp_path / "team")])
    with pytest.raises(BadInput, match=r"engine\.key\.file: .*leads outside"):
        serve(model)


def test_what_a_server_says_is_cut_and_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = (
        'a 1\nvllm:cache_config_info{block_size="16",enable_prefix_caching="True",api="k"} 1\n'
    )
    monkeypatch.setattr("optikit.engines._endpoint.get_text", lambda *a: metrics)
    monkeypatch.setattr("optikit.engines._endpoint.connect_ms", lambda *a: 1.23456)
    row = {"id": "m", "owned_by": "me", "root": "x" * 500, "secret": "no"}
    said = what_it_says(URL, ServerFacts("m", 128, "vllm", "unknown", row), None)
    assert said == {
        "engine": "vllm",
        "max_model_len": "128",
        "owned_by": "me",
        "root": "x" * 80,
        "block_size": "16",
        "enable_prefix_caching": "True",
        "network_round_trip_ms": "1.23",
    }
    monkeypatch.setattr("optikit.engines._endpoint.get_text", lambda *a: "")
    monkeypatch.setattr("optikit.engines._endpoint.connect_ms", lambda *a: None)
    assert what_it_says(URL, ServerFacts("m", None, "x", "1"), None) == {
        "engine": "x",
        "version": "1",
    }


def test_the_endpoint_hides_its_key() -> None:
    assert "s3cret" not in repr(Endpoint(base_url=URL, model="m", vocab=5, api_key="s3cret"))
