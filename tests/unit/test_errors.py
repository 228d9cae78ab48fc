from __future__ import annotations

import pickle

import pytest

from optikit import errors
from optikit.errors import EngineDied, EngineError, EngineStartFailed, NoKernel, PortInUse


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "nearest"])
def test_every_error_pickles_with_its_message(name: str) -> None:
    error = getattr(errors, name)("asked a, found b")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), "asked a, found b")
    assert copy.exit_code == error.exit_code


@pytest.mark.parametrize("kind", [EngineError, EngineStartFailed, EngineDied])
def test_the_cause_pickles(kind: type[EngineError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("no", cause="out of memory")))
    assert (copy.cause, copy.args) == ("out of memory", ("no",))


def test_a_cause_that_nobody_named() -> None:
    assert EngineDied("gone").cause == "crash"
    assert NoKernel("none").cause == "no kernel"
    assert PortInUse("taken").exit_code == 2
