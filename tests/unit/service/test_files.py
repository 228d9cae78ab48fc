"""Which files of a job its team may fetch, and that nothing leads out of its folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.service.files import files_of, parts_of
from optikit.service.refusals import NotFound
from optikit.spec.record import PublishRecord
from tests.specs import small_plan


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    """A job with a trial and a bundle, and a secret beside them."""
    made = JobArchive.create(tmp_path / "home", small_plan(), {})
    (made.folder("trials", "t0") / "probe-01.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (made.root / "driver.log").write_text("one\ntwo /srv/secret\n")
    bundle = made.home / "bundles" / made.job_id
    (bundle / "model").mkdir(parents=True)
    (bundle / "model" / "config.json").write_text("{}")
    (bundle / "certificate.json").write_text("{}")
    published(made, bundle)
    (tmp_path / "secret.json").write_text("secret")
    return made


def published(archive: JobArchive, bundle: Path) -> None:
    facts = {"model_name": "m", "model_version": None, "trial": None, "certificate_digest": None}
    archive.commit(PublishRecord(inputs_digest="d", bundle=str(bundle), **facts))


def text_of(archive: JobArchive, name: str) -> str:
    return b"".join(parts_of(archive, name, lambda text: text.replace("/srv/", ".../"))).decode()


def test_text_and_figures_are_there_and_no_model(archive: JobArchive) -> None:
    (archive.root / "driver.lock").touch()
    (archive.root / "weights.safetensors").touch()
    found = files_of(archive)
    assert list(found) == [
        "bundle/certificate.json",
        "driver.log",
        "environment.json",
        "job.json",
        "journal.jsonl",
        "plan.json",
        "trials/t0/probe-01.jsonl",
    ]
    assert found["trials/t0/probe-01.jsonl"] == 18
    for name in found:
        assert text_of(archive, name)


def test_what_is_read_is_what_the_team_may_see(archive: JobArchive) -> None:
    assert text_of(archive, "driver.log") == "one\ntwo .../secret\n"
    assert text_of(archive, "trials/t0/probe-01.jsonl") == '{"a": 1}\n{"a": 2}\n'


def test_a_large_file_comes_in_parts_of_whole_lines(archive: JobArchive) -> None:
    line = "x" * 999 + "\n"
    (archive.root / "driver.log").write_text(line * 1000)
    parts = list(parts_of(archive, "driver.log", str))
    assert len(parts) > 2
    assert all(part.endswith(b"\n") for part in parts)
    assert b"".join(parts) == line.encode() * 1000


@pytest.mark.parametrize(
    "name",
    [
        "nosuch.json",
        "../../../secret.json",
        "trials/../driver.log",
        "/etc/passwd.json",
        "//driver.log",
        "./driver.log",
        "driver.lock",
        "bundle/model/config.json",
        "bundle",
        "trials/t0",
        "a\0.json",
        "x" * 5000 + ".json",
        "",
    ],
)
def test_other_names_are_none(archive: JobArchive, name: str) -> None:
    with pytest.raises(NotFound):
        parts_of(archive, name, str)


@pytest.fixture
def links(archive: JobArchive, tmp_path: Path) -> list[str]:
    """What a job's code may have put there."""
    (archive.root / "out.json").symlink_to(tmp_path / "secret.json")
    (archive.root / "trials" / "out").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(archive.root / "pipe.log")
    return ["out.json", "trials/out/secret.json", "pipe.log"]


def test_links_and_pipes_are_neither_listed_nor_opened(
    archive: JobArchive, links: list[str]
) -> None:
    assert not set(links) & set(files_of(archive))
    for name in links:
        with pytest.raises(NotFound):
            parts_of(archive, name, str)


def test_a_record_cannot_name_a_bundle_elsewhere(archive: JobArchive, tmp_path: Path) -> None:
    published(archive, tmp_path)
    assert not [name for name in files_of(archive) if "secret" in name]
    with pytest.raises(NotFound):
        parts_of(archive, "bundle/secret.json", str)
