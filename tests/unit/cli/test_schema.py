from __future__ import annotations

import json

import pytest

from optikit.cli import main
from optikit.core.schemas import schema_of


@pytest.mark.parametrize("name", ["job", "record", "certificate"])
def test_it_prints_the_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out) == schema_of(name)
