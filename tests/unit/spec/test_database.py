from __future__ import annotations

import pytest

from optikit.spec.database import without_password


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///x.db",
        "postgresql://me@db:5432/optikit",
        "postgresql+psycopg://db/optikit?host=/s",
    ],
)
def test_an_address_without_a_secret_is_taken(url: str) -> None:
    assert without_password(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@db/x",
        "postgresql://me:s@secret@db/x",
        "postgresql://:secret@/x",
        "postgresql://db/x?password=secret",
        "postgresql://db/x?a=b&PASSWD=secret",
        "postgresql://db/x?a=b;pass=secret",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="kept in a log; leave it out") as refused:
        without_password(url, kept="a log")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["", "x.db", "redis://db/x", "mysql://db/x", "postgresql:db"])
def test_what_is_no_address_of_these_databases(url: str) -> None:
    with pytest.raises(ValueError, match="no database URL"):
        without_password(url, ("sqlite", "postgresql"))
