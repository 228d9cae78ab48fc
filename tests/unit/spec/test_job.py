from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import SpecError
from optikit.spec.job import (
    ComputeConfig,
    DatasetStorage,
    FlowParams,
    ModelStorage,
    OptimizationJob,
)
from optikit.spec.sku import ResourceSKU

MINIMAL: dict[str, Any] = {"model": {"name": "m"}, "compute": {"sku": "CPU_2"}}


def test_the_talks_job_parses_word_for_word() -> None:
    job = OptimizationJob(
        flow="quantize_and_tune",
        model=ModelStorage(name="llama-70b", version="v1.0"),
        dataset=DatasetStorage(path="/data/calibration"),
        flow_params={"recipe": "int_w8a8", "num_trials": 5},
        compute=ComputeConfig(sku=ResourceSKU.H100_8),
    )
    assert job.flow_params == FlowParams(recipe="int_w8a8", num_trials=5)
    assert OptimizationJob.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"sloo": []}, ["unknown key 'sloo'", "'slo'"]),
        ({"flow_params": {"num_trial": 3}}, ["'flow_params.num_trial'", "'num_trials'"]),
        ({"flow_params": {"space": {"tensor_paralel": [1]}}}, ["'tensor_parallel'"]),
        ({"flow_params": {"num_trials": 0}}, ["flow_params.num_trials", "found 0"]),
        ({"slo": ["p95(e2e) <= 0 ms"]}, ["slo", "above 0"]),
        ({"slo": ["p95(speed) <= 1 ms"]}, ["unknown metric 'speed'", "ttft"]),
        ({"slo": ["fast please"]}, ["cannot read the bound", "p95(e2e) <= 500 ms"]),
        ({"compute": {"sku": "H100_9"}}, ["compute.sku", "H100_8"]),
        ({"workload": {"prompt_tokens": 8, "prefix_tokens": 8}}, ["prefix_tokens (8)"]),
        ({"model": {"name": "../x"}}, ["model.name"]),
    ],
)
def test_a_wrong_spec_names_the_key_and_the_way_out(
    extra: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        OptimizationJob.parse({**MINIMAL, **extra}, "job.yaml")
    for word in [*words, "job.yaml"]:
        assert word in str(caught.value)


def test_python_users_read_the_same_errors() -> None:
    with pytest.raises(SpecError, match="unknown key 'nope'"):
        OptimizationJob(**{**MINIMAL, "nope": 1})


def test_a_name_stands_for_a_choice() -> None:
    job = OptimizationJob.parse({**MINIMAL, "engine": "vllm", "tuner": "random"})
    assert (job.engine.name, job.tuner.name) == ("vllm", "random")


def test_specs_are_frozen() -> None:
    job = OptimizationJob.parse(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        setattr(job, "flow", "other")  # noqa: B010


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(OptimizationJob.model_fields)), value=json_values)
def test_any_value_is_a_job_or_a_spec_error(key: str, value: object) -> None:
    try:
        job = OptimizationJob.parse({**MINIMAL, key: value})
    except SpecError:
        return  # any other error fails the test
    assert OptimizationJob.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(
    "url", ["postgresql://me:hush@db/x", "postgresql://db/x?password=hush", "nothing", "ftp://hush"]
)
def test_a_database_with_its_password_is_refused_and_not_repeated(url: str) -> None:
    spec = {"model": {"name": "m"}, "compute": {"sku": "CPU_2"}, "tuner": {"storage": url}}
    with pytest.raises(SpecError, match=r"tuner\.storage") as caught:
        OptimizationJob.parse(spec)
    assert "hush" not in str(caught.value)
    kept = {**spec, "tuner": {"storage": "postgresql://me@db/x"}}
    assert OptimizationJob.parse(kept).tuner.storage == "postgresql://me@db/x"
