from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from optikit.cli import main, parser
from optikit.cli.benchmark import asked
from optikit.cli.verify import show
from optikit.errors import BadInput
from optikit.spec.record import Certificate
from tests.doubles import certificate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTIKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], found: Certificate) -> str:
    (tmp_path / "certificate.json").write_text(found.model_dump_json())
    assert main(["certificate", "show", str(tmp_path)]) == 0
    return capsys.readouterr().out


def test_the_page_has_the_claim_first_and_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(tmp_path, capsys, certificate())
    lines = text.splitlines()
    assert lines[1].split() == ["status", "CERTIFIED"]
    for words in (
        "20 req/s, 20 a device",
        "19.5 to 22 req/s (95 % interval)",
        "p95(e2e) <= 500 ms",
        "32 prompt + 8 output tokens",
        "vllm 0.32.0",
        "cpu: a cpu; cores: 2",
        "sha256:" + "a" * 64,
        "adjusted (risk 0.025",
        "1500, 500 of them at the rate",
        "2 (2 different)",
        "p99 0.7 ms",
        "402 to 419 ms",
        "kept: as good",
        "python -m server --name 'two words'",
    ):
        assert words in text, words
    assert "SIMULATED" not in text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"simulated": True}, "SIMULATED (no server was measured), CERTIFIED"),
        ({"status": "preliminary"}, "PRELIMINARY"),
        ({"status": "negative", "rate_rps": None, "outcome": "infeasible"}, "NEGATIVE"),
    ],
)
def test_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], status: str
) -> None:
    text = shown(tmp_path, capsys, certificate(**changes))
    assert text.splitlines()[1].removeprefix("status").strip() == status
    assert ("none (infeasible)" in text) is (changes.get("outcome") == "infeasible")


def test_the_page_of_an_endpoint_says_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Any] = {"model_digest": None, "serving": None, "sku": None, "command": []}
    changes |= {"source": "endpoint", "endpoint": "http://h:1", "hardware": {}, "quality": None}
    text = shown(tmp_path, capsys, certificate(**changes, measurement=None, client_lag=None))
    assert "the server is somebody else's" in text
    assert "the checkpoint is out of reach" in text
    assert "http://h:1" in text
    assert "None" not in text
    assert "Command" not in text


def test_the_certificate_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.json"
    file.write_text(certificate().model_dump_json())
    assert main(["certificate", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == certificate().model_dump(mode="json")


@pytest.mark.parametrize("verb", [["certificate", "show"], ["verify"]])
@pytest.mark.parametrize("text", [None, "{", '{"schema_version": 1}'])
def test_what_is_no_certificate_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str], text: str | None
) -> None:
    file = tmp_path / "c.json"
    if text is not None:
        file.write_text(text)
    assert main([*verb, str(file)]) == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err.startswith("error: ")
    assert caught.err.count("\n") == 1


def arguments(*words: str) -> argparse.Namespace:
    return parser().parse_args(["benchmark", "--endpoint", "http://h:1", *words])


def test_the_arguments_of_a_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("prompt_tokens: 64\noutput_tokens: 16\nseed: 5\n")
    ask = asked(
        arguments(
            *("--workload", str(file), "--slo", "p95(e2e)<=500ms", "--slo", "p50(ttft)<=50ms"),
            *("--max-time", "10m", "--method", "doubling", "--seed", "9", "--vocab", "99"),
            *("--max-num-seqs", "8", "--no-enforce-length", "--api-key-env", "K", "--model", "m"),
        )
    )
    assert ask.workload.prompt_tokens.high == 64
    assert ask.workload.seed == 9
    assert [str(bound) for bound in ask.slo.bounds] == ["p95(e2e) <= 500 ms", "p50(ttft) <= 50 ms"]
    assert (ask.method.name, ask.method.max_search_s) == ("doubling", 600.0)
    assert (ask.vocab, ask.max_num_seqs, ask.enforce_length) == (99, 8, False)
    assert (ask.api_key_env, ask.model) == ("K", "m")


def test_a_benchmark_needs_nothing_but_an_endpoint() -> None:
    ask = asked(arguments())
    assert ask.workload.prompt_tokens.high == 512
    assert ask.slo.bounds == ()
    assert (ask.method.name, ask.api, ask.prompts) == ("adjusted", "completions", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slo", "p95(speed)<=1s"], "unknown metric 'speed'.*known: e2e, ttft, tpot, itl"),
        (["--slo", "fast"], "cannot read the bound 'fast'"),
        (["--slo", "p95(e2e)<=1s", "--slo", "p95(e2e)<=2s"], "bounded twice"),
        (["--max-time", "soon"], "'soon' is no duration"),
        (["--workload", "no/such.yaml"], "cannot read the workload no/such.yaml"),
        (["--seed", "-1"], "seed"),
        (["--vocab", "0"], "vocab"),
    ],
)
def test_bad_arguments(words: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        asked(arguments(*words))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "a workload is a mapping of keys, found list"),
        ("a: [\n", "is not plain YAML"),
        ("model: {name: m}\ncompute: {sku: CPU_2}\n", "unknown key 'model'"),
        ("prompt_tokens: many\n", "a length is"),
    ],
)
def test_a_file_that_is_no_workload(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        asked(arguments("--workload", str(file)))
    assert str(file) in str(caught.value)


def test_a_verification_has_both_figures_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    side = {"value_ms": 410.0, "low_ms": 402.0, "high_ms": None}
    side |= {"share": 0.04, "share_low": 0.03, "share_high": 0.06}
    row = {"bound": "p95(e2e) <= 500 ms", "limit_ms": 500.0, "allowed": 0.05}
    facts = {
        "verdict": "broken",
        "reason": "too slow",
        "simulated": True,
        "interrupted": False,
        "rate_rps": 20.0,
        "rate_interval_rps": [19.0, None],
        "bounds": [{**row, "then": side, "now": {**side, "value_ms": 612.0}}],
        "requests": 500,
        "seed": 77,
        "measured": "http://h:1",
        "archive": "/a",
    }
    show(facts)
    text = capsys.readouterr().out
    assert "SIMULATED: BROKEN" in text
    lines = [line.split() for line in text.splitlines() if "p95(e2e)" in line]
    assert [line[4:6] for line in lines] == [["then", "410"], ["now", "612"]]
    assert "4 %" in text
