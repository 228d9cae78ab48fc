from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from optikit.cli import VERBS, main, parser

TALK = {
    "flow": "quantize_and_tune",
    "model": {"name": "llama-70b", "version": "v1.0"},
    "dataset": {"path": "/data/calibration"},
    "flow_params": {"recipe": "int_w8a8", "num_trials": 5},
    "compute": {"sku": "H100_8"},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTIKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    def write(**changes: object) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({**TALK, **changes}))
        return str(path)

    return write


def test_every_verb_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert "130 cancelled" in text


def test_the_talks_spec_is_planned(spec: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", spec(), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["flow"] == "quantize_and_tune"
    assert plan["stages"] == ["fetch", "compress", "evaluate", "benchmark", "tune", "publish"]
    assert (plan["sku"], plan["recipe"], plan["trials"]) == ("H100_8", "int_w8a8", 5)
    assert plan["tensor_parallel"] == [1, 2, 4, 8]
    assert plan["baseline_tensor_parallel"] == [2, 4, 8]
    assert plan["disk_bytes"] > 200e9
    assert plan["calibration_samples"] == 256


def test_the_table_shows_every_default_and_the_shapes_source(
    spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", spec()]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in (
        "70.55 B parameters",
        "Poisson".lower(),
        "probes as large as they must be",
        "everyday_facts",
        "fallback none",
        "512 prompt",
        "device-hours",
        "shipped",
        "gp_prior",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flow": "quantise"}, ["unknown flow", "quantize"]),
        ({"flow_params": {"recipe": "int_w8a9"}}, ["unknown recipe", "int_w8a8"]),
        ({"compute": {"sku": "B200_8"}}, ["compute.sku", "H200_8"]),
        ({"tuner": "bayes"}, ["unknown tuner", "tpe"]),
        ({"engine": "vllmm"}, ["unknown engine", "vllm"]),
        ({"method": "doublin"}, ["doubling"]),
        ({"budgett": {}}, ["budgett", "budget"]),
        ({"flow": "tune", "flow_params": {"recipe": "int_w8a9"}}, ["unknown recipe", "int_w8a8"]),
        ({"slo": "p95(tpot) <= 1 s", "workload": {"output_tokens": 1}}, ["output_tokens: 1"]),
        (
            {"engine": {"flags": {"trust-remote-code": True}}},
            ["trust-remote-code", "model.trust_remote_code"],
        ),
        ({"slo": "p95(e2e) <= 0 ms"}, ["above 0"]),
        ({"workload": {"prompt_tokens": 100_000}}, ["context of 8192"]),
        ({"model": {"name": "unheard-of"}}, ["optikit models add PATH --name unheard-of"]),
        ({"model": {"name": "m", "uri": "/nowhere"}}, ["/nowhere"]),
        ({"model": {"name": "m", "uri": "gopher://b/m"}}, ["gopher", "s3, webhdfs"]),
        ({"flow_params": {"space": {"tensor_parallel": [3]}}}, ["64 attention heads"]),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(
    spec: Any, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: list[str]
) -> None:
    assert main(["plan", spec(**changes)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err


def test_submit_of_an_unregistered_model_names_the_command(
    spec: Any, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", spec()]) == 2
    error = capsys.readouterr().err
    assert "optikit models add PATH --name llama-70b --version v1.0" in error
    assert not (home / "jobs").exists()


@pytest.mark.parametrize("text", ["[1, 2", "- a", "x: !!python/object/apply:os.system [id]", ""])
def test_what_is_no_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert main(["plan", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "/no/such.yaml"]) == 2
    assert "/no/such.yaml" in capsys.readouterr().err


def test_an_empty_home(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["show", "last"]) == 2
    assert "no job 'last'" in capsys.readouterr().err
    assert main(["doctor", "--leftovers"]) == 0


def test_every_verb_that_prints_facts_takes_json() -> None:
    for argv in (
        ["plan", "x"],
        ["submit", "x"],
        ["status", "x"],
        ["trials", "x"],
        ["show", "x"],
        ["logs", "x"],
        ["list"],
        ["cancel", "x"],
        ["doctor"],
        ["models", "list"],
        ["models", "show", "m@certified"],
        ["models", "promote", "m:1"],
        ["models", "rollback", "m"],
        ["archive", "push", "last", "s3://b"],
        ["archive", "pull", "s3://b/job-1"],
    ):
        assert parser().parse_args([*argv, "--json"]).json is True


def test_one_damaged_job_hides_no_other(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from optikit.archive import JobArchive
    from tests.specs import small_plan

    whole, broken = (JobArchive.create(home, small_plan(), {}) for _ in range(2))
    (broken.root / "plan.json").write_text("{")
    assert main(["list", "--json"]) == 0
    rows = {row["id"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert rows == {whole.job_id: "starting", broken.job_id: "damaged"}


def test_a_simulated_plan_needs_no_dataset_and_says_simulated(
    spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = spec(engine="simulated", dataset=None)
    assert main(["plan", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["simulated"] is True
    assert found["calibration_samples"] == 0
    assert main(["plan", path]) == 0
    text = capsys.readouterr().out
    assert text.startswith("SIMULATED: Plan")
    assert "65%" in text
    assert main(["plan", spec(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["simulated"] is False


def test_an_unknown_simulated_model_names_the_shapes_that_ship(
    spec: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", spec(engine="simulated", model={"name": "nosuch"})]) == 2
    said = capsys.readouterr().err
    assert "llama-70b" in said
    assert "model.uri" in said
