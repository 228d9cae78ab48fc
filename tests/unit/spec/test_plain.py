from __future__ import annotations

from typing import Any

import pytest

from optikit.errors import SpecError
from optikit.spec.job import OptimizationJob
from optikit.spec.plain import MOST, must_be_plain


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [0, 2**53 + 1]}, r"^Job: 'a\.1': a number of 16 digits"),
        ({"a": -(10**400)}, "a number of 401 digits"),
        pytest.param(10**5000, r"'\(whole\)': a number of over 1000 digits", id="huge"),
        ({"a": {"b": "x\0y"}}, r"'a\.b': a text with a null byte"),
        ({"a": "\ud800"}, "a lone surrogate"),
        ({"x": {"\ud800": 1}}, "a key of 'x': a text that is no Unicode"),
        (nested(33), "nested deeper than 32"),
    ],
)
def test_what_no_spec_can_mean(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        must_be_plain(value, "Job")


def test_plain_values_pass() -> None:
    must_be_plain({"a": [MOST, -MOST, 1e300, None, True, "é中", ("x",)], 5: {}}, "Job")
    must_be_plain(nested(32), "Job")


def test_a_job_is_looked_at_whoever_makes_it() -> None:
    spec = {"model": {"name": "m"}, "compute": {"sku": "CPU_2"}}
    with pytest.raises(SpecError, match=r"'tuner\.seed': a number of 31 digits"):
        OptimizationJob.parse({**spec, "tuner": {"seed": 10**30}}, "job.yaml")
    with pytest.raises(SpecError, match="null byte"):
        OptimizationJob(**{**spec, "dataset": {"path": "a\0b"}})
