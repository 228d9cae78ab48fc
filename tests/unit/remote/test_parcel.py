from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from optikit.errors import BadInput
from optikit.remote import parcel as module
from optikit.remote.parcel import arrived, code_digest, sent_with, write_parcel


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "optikit"
    (root / "core" / "__pycache__").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "core" / "a.py").write_text("A = 1\n")
    (root / "core" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")
    return root


def test_the_digest_is_of_names_and_contents_alone(package: Path, tmp_path: Path) -> None:
    before = code_digest(package)
    (package / "core" / "__pycache__" / "b.pyc").write_bytes(b"y")
    (package / "core" / "a.py").touch()
    assert code_digest(package) == before
    (package / "core" / "a.py").rename(package / "core" / "b.py")
    moved = code_digest(package)
    (package / "core" / "b.py").write_text("A = 2\n")
    assert len({before, moved, code_digest(package)}) == 3


def test_equal_contents_make_equal_parcels_that_unpack_to_the_same_digest(
    package: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    write_parcel(one, '{"job": "j"}', package)
    (package / "core" / "a.py").touch()
    write_parcel(two, '{"job": "j"}', package)
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as zipped:
        zipped.extractall(tmp_path / "there")
        assert zipped.read("submission.json") == b'{"job": "j"}'
    assert code_digest(tmp_path / "there" / "optikit") == code_digest(package)


def test_a_submission_larger_than_a_spec_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="1000013 bytes"):
        write_parcel(tmp_path / "p.zip", '{"job": "' + "x" * 1_000_002 + '"}', package)


def test_the_own_package_travels_whole(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    write_parcel(path, "{}")
    with zipfile.ZipFile(path) as zipped:
        names = set(zipped.namelist())
    assert {"submission.json", "optikit/cluster_driver.py", "optikit/spec/job.py"} <= names
    assert not [name for name in names if "__pycache__" in name]
    assert path.stat().st_size < 4 << 20


class Here:
    """What the machine of arrival has."""

    def __init__(self, python: str = "3.11.9", **packages: str) -> None:
        self.facts = {"interpreter": "/py", "python": python, "packages": packages}

    def __call__(self) -> dict[str, Any]:
        return self.facts


def test_nothing_differs_where_sender_and_cluster_are_alike() -> None:
    assert arrived(sent_with()) == []
    assert arrived({}) == []


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (Here("3.12.1", ray="2.60.0"), r"Python 3.11.2.*/py on the cluster is 3.12.1.*--python"),
        (Here("3.11.9", ray="2.59.0"), r"Ray 2.60.0.*has Ray 2.59.0"),
        (Here("3.11.9"), r"Ray 2.60.0.*has none"),
    ],
)
def test_another_python_or_ray_is_refused(
    monkeypatch: pytest.MonkeyPatch, here: Here, words: str
) -> None:
    monkeypatch.setattr(module, "describe_environment", here)
    with pytest.raises(BadInput, match=words):
        arrived({"python": "3.11.2", "packages": {"ray": "2.60.0"}})


def test_other_differences_are_told_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "describe_environment", Here(ray="2.60.0", torch="2.13.0"))
    sent = {"ray": "2.60.0", "torch": "2.12.0", "optuna": "5.0.0"}
    assert arrived({"python": "3.11.2", "packages": sent}) == [
        "optuna is missing here, 5.0.0 where the job was sent",
        "python 3.11.9 here, 3.11.2 where the job was sent",
        "torch 2.13.0 here, 2.12.0 where the job was sent",
    ]


def test_other_code_than_was_sent_is_refused(package: Path) -> None:
    told = {"code": code_digest(package)}
    assert arrived(told, package) == []
    (package / "core" / "a.py").write_text("A = 3\n")
    with pytest.raises(BadInput, match="not what was sent"):
        arrived(told, package)
