"""The reference has every key of a certificate and of the results that ``--json`` prints."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from optikit.engines._endpoint import ServerFacts
from optikit.measuring.archive import MeasurementArchive
from optikit.measuring.benchmark import Measured
from optikit.measuring.search import Ended
from optikit.measuring.verify import Verified
from optikit.spec.base import Spec
from optikit.spec.quality import Divergence, Estimate, QualityVerdict, TaskScore
from optikit.spec.record import (
    BoundEvidence,
    Certificate,
    Measurement,
    ProbeLine,
    Quantile,
    RateResult,
    SentAs,
)
from optikit.spec.serving import ServingConfig
from tests.doubles import certificate

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
ROW = re.compile(r"^\| `(?P<key>\w+)` \| .+ \| .+ \|$", re.MULTILINE)
ENDED = Ended(
    RateResult(
        outcome="inconclusive",
        rate_rps=None,
        preliminary=True,
        reason="",
        method="adjusted",
        requests=0,
    )
)
ARCHIVE = MeasurementArchive(Path("/h"), "m1")


def keys(page: str, title: str) -> list[str]:
    """Keys of the tables of one section."""
    text = (REFERENCE / page).read_text()
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"{page} has no section {title}"
    return [match["key"] for match in ROW.finditer(rest.partition("\n## ")[0])]


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("Certificate", Certificate),
        ("Serving", ServingConfig),
        ("Sent as", SentAs),
        ("Probe", ProbeLine),
        ("Measurement", Measurement),
        ("Percentile", Quantile),
        ("Bound", BoundEvidence),
        ("Quality", QualityVerdict),
        ("Task score", TaskScore),
        ("Divergence", Divergence),
        ("Estimate", Estimate),
    ],
)
def test_every_field_of_a_certificate_is_documented(title: str, model: type[Spec]) -> None:
    assert keys("certificate.md", title) == list(model.model_fields)


def test_every_key_of_a_benchmarks_result_is_documented() -> None:
    facts = ServerFacts("m", None, "vllm", "1")
    measured = Measured(ARCHIVE, facts, ENDED, certificate(), (), ())
    assert keys("benchmark.md", "Result of benchmark") == list(measured.facts())


def test_every_key_of_a_verifications_result_is_documented() -> None:
    verified = Verified(ARCHIVE, certificate(), ENDED, 1, False, "", (), ())
    assert keys("benchmark.md", "Result of verify") == list(verified.facts())


def test_every_option_of_a_benchmark_is_documented() -> None:
    from optikit.cli.benchmark import arguments

    seen: list[str] = []
    fake = SimpleNamespace(add_argument=lambda name, **facts: seen.append(name))
    arguments(cast(Any, fake))
    text = (REFERENCE / "benchmark.md").read_text()
    assert [name for name in seen if f"`{name}" not in text] == []
