from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from optikit.errors import BadInput, UnknownName
from optikit.journal import write_json
from optikit.measuring.archive import MeasurementArchive
from optikit.measuring.certificates import find_certificate, read_certificate
from tests.doubles import certificate


def written(path: Path) -> Path:
    path.write_text(certificate().model_dump_json())
    return path


def measured(home: Path, certified: bool = True) -> MeasurementArchive:
    archive = MeasurementArchive.create(home, "benchmark" if certified else "verify", {})
    if certified:
        written(archive.certificate)
    return archive


def test_a_certificate_is_found_by_file_and_by_folder(tmp_path: Path) -> None:
    file = written(tmp_path / "certificate.json")
    assert find_certificate(str(file), tmp_path) == file
    assert find_certificate(str(tmp_path), tmp_path) == file
    assert read_certificate(file) == certificate()


def test_a_measurement_is_found_by_id_and_as_the_last(tmp_path: Path) -> None:
    one, two = measured(tmp_path), measured(tmp_path)
    without = measured(tmp_path, certified=False)
    assert find_certificate(one.measurement_id, tmp_path) == one.certificate
    assert find_certificate(one.measurement_id[:-1], tmp_path) == one.certificate
    last = find_certificate("last", tmp_path)
    assert last in (one.certificate, two.certificate)  # both may be of one instant
    with pytest.raises(BadInput, match=f"{without.measurement_id} has no certificate"):
        find_certificate(without.measurement_id, tmp_path)


def test_a_jobs_certificate_lies_in_the_bundle_that_it_published(tmp_path: Path) -> None:
    bundle = tmp_path / "elsewhere"
    bundle.mkdir()
    file = written(bundle / "certificate.json")
    job = tmp_path / "jobs" / "j20261124-100000-abcdef"
    job.mkdir(parents=True)
    (job / "plan.json").write_text("{}")
    line = {"t": 1.0, "kind": "published", "bundle": str(bundle)}
    (job / "journal.jsonl").write_text(json.dumps(line) + "\n")
    assert find_certificate(job.name, tmp_path) == file
    assert find_certificate("last", tmp_path) == file
    shutil.rmtree(bundle)
    with pytest.raises(BadInput, match="has no certificate"):
        find_certificate(job.name, tmp_path)


def test_what_is_nowhere(tmp_path: Path) -> None:
    known = measured(tmp_path).measurement_id
    with pytest.raises(UnknownName, match=f"neither a file nor a job.*{known}"):
        find_certificate("nowhere.json", tmp_path)
    with pytest.raises(BadInput, match=r"has no certificate\.json"):
        find_certificate(str(tmp_path), tmp_path)
    with pytest.raises(BadInput, match="no job or measurement"):
        find_certificate("last", tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged or no certificate"),
        ("[]", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": 1}', "older version of OptiKIT.*run the job again"),
        ('{"schema_version": 3}', "schema version 3, this OptiKIT reads 2"),
        ('{"schema_version": "2"}', "schema version '2'"),
        ('{"schema_version": 2}', "the certificate is damaged: .*'status' is missing"),
        ("[" * 100_000, "damaged or no certificate"),
    ],
)
def test_what_is_no_certificate_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        read_certificate(file)
    assert "\n" not in str(caught.value)


def test_an_altered_certificate_is_refused(tmp_path: Path) -> None:
    data = certificate().model_dump(mode="json")
    for key, value in (("rate_rps", "fast"), ("stray", 1), ("status", "splendid")):
        write_json(tmp_path / "c.json", {**data, key: value})
        with pytest.raises(BadInput, match=f"damaged.*'{key}'"):
            read_certificate(tmp_path / "c.json")


def test_one_of_another_optikit_that_has_more_fields_says_so(tmp_path: Path) -> None:
    data = certificate().model_dump(mode="json")
    write_json(tmp_path / "c.json", {**data, "colour": 1, "optikit_version": "9.9\n"})
    with pytest.raises(
        BadInput, match=r"or OptiKIT '9.9\\n', which wrote it, knows more: .*colour"
    ):
        read_certificate(tmp_path / "c.json")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the certificate"):
        read_certificate(tmp_path / "nothing")
