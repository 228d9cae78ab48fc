"""What a person says of jobs becomes a filter, or one clear error."""

from __future__ import annotations

import doctest

import pytest

from optikit.core import listing
from optikit.core.listing import wanted
from optikit.errors import BadInput
from optikit.spec import listing as spec


def test_the_examples_hold() -> None:
    for module in (listing, spec):
        found = doctest.testmod(module)
        assert found.attempted > 0
        assert found.failed == 0


def test_nothing_said_is_every_job() -> None:
    assert wanted(0.0) == spec.EVERY_JOB
    assert spec.EVERY_JOB.fits({"state": "damaged", "model": None, "created": None})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"states": ["dnoe"]}, "did you mean 'done'"),
        ({"since_text": "yesterday"}, "is no moment"),
        ({"limit": 0}, "one job or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        wanted(0.0, **said)  # type: ignore[arg-type]
