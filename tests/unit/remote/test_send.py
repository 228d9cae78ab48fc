from __future__ import annotations

from typing import Any

import pytest

from optikit.errors import BadInput
from optikit.remote.send import check_portable
from optikit.spec.job import OptimizationJob


def endpoint(**key: Any) -> OptimizationJob:
    return OptimizationJob.parse(
        {
            "flow": "benchmark",
            "model": {"name": "m"},
            "compute": {"sku": "CPU_2"},
            "engine": {"name": "openai", "url": "https://llm.example.com", "key": key},
        }
    )


def test_a_key_of_this_machines_folder_does_not_travel() -> None:
    with pytest.raises(BadInput, match=r"engine\.key\.file: keys/x is relative"):
        check_portable(endpoint(file="keys/x"))
    assert check_portable(endpoint(file="/shared/keys/x")) is False
    assert check_portable(endpoint(env="LLM_EXAMPLE_KEY")) is False
