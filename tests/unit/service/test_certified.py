"""The certificate's page in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from optikit.archive import JobArchive
from optikit.service.certified import certificate_facts
from tests.service_case import ended, publish
from tests.specs import small_plan


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    made = JobArchive.create(tmp_path, small_plan(), {})
    made.event("state", state="running", pid=1)
    return made


def test_a_certificate_has_its_claim_and_how_to_serve_it(archive: JobArchive) -> None:
    bundle = publish(archive)
    found = certificate_facts(archive)["found"]
    assert found["status"] == "Certified"
    assert (found["rate"], found["per_device"]) == ("20 requests/s", "20 requests/s a device")
    assert found["interval"] == "19.5 to 22 requests/s"
    assert found["slo"] == ["p95(e2e) <= 500 ms"]
    assert found["serve"] == f"sh '{bundle}/serve.sh'"
    assert found["command"] == "python -m server \\\n    --name 'two words'"
    assert found["registered"] == "m:3"
    assert {"name": "cpu", "value": "a cpu"} in found["hardware"]
    assert {"name": "tensor_parallel", "value": "1"} in found["serving"]
    assert found["quality"] == "kept: as good"
    assert [row["percentile"] for row in found["percentiles"]]
    for part in ("claim", "subject", "how", "hardware", "serving"):
        assert all(set(row) == {"name", "value"} for row in found[part]), part


def test_a_negative_one_says_so_first(archive: JobArchive) -> None:
    publish(archive, status="negative", rate_rps=None, outcome="infeasible")
    found = certificate_facts(archive)["found"]
    assert (found["status"], found["tone"]) == ("Negative: do not deploy", "bad")
    assert (found["rate"], found["outcome"]) == (None, "infeasible")


@pytest.mark.parametrize(("over", "why"), [(False, "has not ended"), (True, "left none")])
def test_no_certificate_says_why(archive: JobArchive, over: bool, why: str) -> None:
    if over:
        ended(archive, "fail", "negative")
    facts = certificate_facts(archive)
    assert facts["found"] is None
    assert why in facts["why_none"]


def test_a_damaged_one_says_so(archive: JobArchive) -> None:
    (publish(archive) / "certificate.json").write_text("{")
    facts = certificate_facts(archive)
    assert facts["found"] is None
    assert "damaged" in facts["why_none"]
