"""The audit of locked versions against known advisories."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from scripts import audit

TODAY = datetime.date(2026, 11, 26)
LIST = """
known_until = 2025-12-31
[[advisory]]
package = "Some_Package"
affected = ">=1.0,<2.0"
id = "CVE-1"
[[advisory]]
package = "torch"
affected = "<2.6.0"
id = "CVE-2"
"""
ALLOWED = """
[[allowed]]
package = "some-package"
id = "CVE-1"
reason = "not reached"
until = {until}
"""


def test_versions_of_a_lock() -> None:
    text = "# a lock\nSome.Package==1.5  # why\ntorch==2.13.0+cpu\n\n-e .\nother>=1\n"
    assert audit.locked(text) == {"some-package": "1.5", "torch": "2.13.0+cpu"}


@pytest.mark.parametrize(
    ("versions", "ids"),
    [
        ({"some-package": "1.5", "torch": "2.13.0+cpu"}, ["CVE-1"]),
        ({"some-package": "2.0", "torch": "2.5.1+cpu"}, ["CVE-2"]),
        ({"some-package": "1.9rc1"}, ["CVE-1"]),
        ({"some-package": "0.9", "another": "1"}, []),
    ],
)
def test_a_version_under_an_advisory_is_found(versions: dict[str, str], ids: list[str]) -> None:
    found = audit.offline(audit.read_known(LIST), "lock", versions)
    assert [one.id for one in found] == ids


def test_what_is_allowed_passes_until_its_date() -> None:
    found = [audit.Found("some-package", "1.5", "CVE-1", "lock")]
    bad, kept = audit.judge(found * 2, audit.read_known(LIST), TODAY)
    assert (len(bad), kept) == (1, [])
    assert "CVE-1; raise the version" in bad[0]
    later = audit.read_known(LIST + ALLOWED.format(until="2026-11-26"))
    bad, kept = audit.judge(found, later, TODAY)
    assert bad == []
    assert "not reached" in kept[0]
    past = audit.read_known(LIST + ALLOWED.format(until="2026-11-25"))
    bad, kept = audit.judge(found, past, TODAY)
    assert "look at it again" in bad[0]


@pytest.mark.parametrize(
    "text",
    [
        '[[advisory]]\npackage = "x"\nid = "CVE-1"\n',
        '[[allowed]]\npackage = "x"\nid = "C"\nreason = " "\nuntil = 2027-01-01\n',
        '[[allowed]]\npackage = "x"\nid = "C"\nreason = "r"\nuntil = "soon"\n',
        '[[allowed]]\npackage = "x"\nid = "C"\nreason = "r"\n',
    ],
)
def test_an_entry_that_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"audit\.toml"):
        audit.read_known(text)


def test_the_locks_of_this_checkout_pass_and_the_age_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit.main([]) == 0
    said = capsys.readouterr().out
    assert "NOT CHECKED ONLINE" in said
    assert "published up to 2025-12-31" in said
    assert "CVE-2023-48022" in said


def test_a_lock_under_an_advisory_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "constraints").mkdir()
    (tmp_path / audit.KNOWN).write_text(LIST)
    for lock in audit.LOCKS:
        (tmp_path / lock).write_text("some-package==1.5\n")
    assert audit.main([], tmp_path) == 1
    assert capsys.readouterr().out.count("PROBLEM") == 2


def test_a_service_that_cannot_be_asked_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(lock: str, text: str) -> list[audit.Found]:
        raise RuntimeError("no network")

    monkeypatch.setattr(audit, "online", silent)
    assert audit.main(["--online"]) == 1
    assert "NOT CHECKED ONLINE: no network" in capsys.readouterr().out
