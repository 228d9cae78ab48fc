from __future__ import annotations

from typing import Any

import pytest

from optikit.core.schemas import newer_than_this, schema_of
from optikit.errors import UnknownName
from optikit.spec.record import Certificate
from optikit.spec.versions import CERTIFICATE, SCHEMAS


def test_each_says_what_it_is_in_which_version() -> None:
    for name, version in SCHEMAS.items():
        found = schema_of(name)
        assert found["title"] == f"optikit {name}, version {version}"
        assert found["$schema"].endswith("2020-12/schema")


def test_an_unknown_one_names_the_known() -> None:
    with pytest.raises(UnknownName, match="did you mean 'certificate'"):
        schema_of("certifikate")


def test_a_certificate_says_the_version_that_is_written() -> None:
    assert Certificate.model_fields["schema_version"].default == CERTIFICATE
    assert schema_of("certificate")["properties"]["schema_version"]["const"] == CERTIFICATE


def test_fields_keep_their_names_and_descriptions_lose_their_tests() -> None:
    job = schema_of("job")
    assert set(job["required"]) == {"model", "compute"}
    assert job["$defs"]["Slo"]["description"].startswith("All bounds that must hold at once")
    assert "title" not in job["properties"]["budget"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, None),
        ("1", None),
        ({}, None),
        (dict(SCHEMAS), None),
        ({"record": "two"}, None),
        ({"record": SCHEMAS["record"] + 1}, "record version 2, this one reads 1"),
        ({"job": 99, "other": 1}, "job version 99"),
    ],
)
def test_what_a_newer_one_wrote(written: Any, said: str | None) -> None:
    found = newer_than_this(written)
    assert found is None if said is None else found is not None and said in found
