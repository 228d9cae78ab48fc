"""Engine metrics of a trial are held against their file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from optikit.core.scrapes import FILE, Scrapes, metrics_of, packed
from optikit.reports._check_scrapes import check_scrapes
from optikit.reports._check_trials import Counted
from optikit.spec.finding import Finding
from optikit.spec.record import Trial
from tests.unit.core.test_scrapes import FAMILIES, probe
from tests.unit.reports.test_page import trial


def checked(folder: Path, one: Trial) -> list[Finding]:
    return list(check_scrapes(folder, "trials/t0", one, Counted()))


@pytest.fixture
def one(tmp_path: Path) -> Trial:
    data, kept = packed(Scrapes(FAMILIES, [*probe(1), *probe(2)]))
    (tmp_path / FILE).write_bytes(data)
    said = metrics_of(kept, f"sha256:{hashlib.sha256(data).hexdigest()}")
    return Trial.parse(trial("t0", engine_metrics=said.model_dump(mode="json")))


def test_what_follows_from_the_file_is_clean(tmp_path: Path, one: Trial) -> None:
    assert checked(tmp_path, one) == []
    assert checked(tmp_path, one.model_copy(update={"engine_metrics": None})) == []


def test_an_altered_figure_is_found(tmp_path: Path, one: Trial) -> None:
    assert one.engine_metrics is not None
    probes = list(one.engine_metrics.probes)
    probes[1] = probes[1].model_copy(update={"kv_cache_peak": 0.1})
    said = one.engine_metrics.model_copy(update={"probes": tuple(probes)})
    (found,) = checked(tmp_path, one.model_copy(update={"engine_metrics": said}))
    assert (found.kind, found.recorded, found.derived) == ("figure", 0.1, 0.375)
    assert "kv_cache_peak" in found.where


def test_an_altered_file_is_found(tmp_path: Path, one: Trial) -> None:
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[:-1] + b"x")
    (found,) = checked(tmp_path, one)
    assert found.kind == "digest"
    (tmp_path / FILE).unlink()
    (found,) = checked(tmp_path, one)
    assert found.kind == "missing"
