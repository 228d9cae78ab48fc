from __future__ import annotations

import sys

import pytest

from optikit.errors import UnknownName
from optikit.flows import FLOWS
from optikit.plugins import Room
from optikit.spec.flow import Flow


def test_files_are_plugins_and_listing_imports_none() -> None:
    sys.modules.pop("optikit.flows.evaluate", None)
    assert set(FLOWS.names()) == {"benchmark", "evaluate", "quantize", "quantize_and_tune", "tune"}
    assert "optikit.flows.evaluate" not in sys.modules
    assert FLOWS.load("evaluate").name == "evaluate"


def test_an_unknown_name_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown flow 'quantise'; did you mean 'quantize'"):
        FLOWS.load("quantise")


def test_every_flow_carries_its_file_name() -> None:
    assert all(FLOWS.load(name).name == name for name in FLOWS.names())


def test_base_and_private_modules_are_no_plugins() -> None:
    room: Room[Flow] = Room("optikit.pools", "POOLS")
    assert room.names() == ["inline", "process", "ray"]
