"""Two jobs beside each other, from journals that the test wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive
from optikit.reports.comparison import comparison
from optikit.reports.page import Page
from tests.specs import small_plan
from tests.unit.reports.test_page import rate, trial


def job(home: Path, rps: float | None, low: float, high: float, **spec: Any) -> JobArchive:
    archive = JobArchive.create(home, small_plan(**spec), {"packages": {"ray": "2"}})
    found = rate(rps, rate_low_rps=low, rate_high_rps=high)
    archive.event("trial", trial=trial("b0", purpose="benchmark", rate=found))
    return archive


def rows(page: Page, name: str) -> dict[str, tuple[str, ...]]:
    section = next((one for one in page.sections if one.name == name), None)
    return {row[0]: row[1:] for row in section.tables[0].rows} if section else {}


def test_what_was_asked_differently_is_named_by_its_key(tmp_path: Path) -> None:
    one = job(tmp_path, 2.0, 1.9, 2.1)
    other = job(tmp_path, 3.0, 2.9, 3.1, tuner={"name": "random"}, flow_params={"num_trials": 7})
    page = comparison(one, other)
    assert rows(page, "asked") == {
        "tuner.name": ("gp_prior", "random"),
        "flow_params.num_trials": ("30", "7"),
    }
    assert rows(page, "environment") == {}
    assert rows(page, "rates")["rate per device"] == ("2", "3")


def test_the_higher_rate_is_said_only_where_the_intervals_are_apart(tmp_path: Path) -> None:
    one = job(tmp_path, 2.0, 1.9, 2.1)
    apart, over = job(tmp_path, 3.0, 2.9, 3.1), job(tmp_path, 2.2, 2.05, 2.4)
    assert comparison(one, apart).verdict == f"{apart.job_id} serves more"
    assert comparison(apart, one).verdict == f"{apart.job_id} serves more"
    assert "1.50 times" in comparison(one, apart).message
    assert comparison(one, over).verdict == "a tie"


@pytest.mark.parametrize("spec", [{"slo": ["p95(e2e) <= 9 s"]}, {"workload": {"prompt_tokens": 9}}])
def test_rates_for_another_question_are_not_compared(tmp_path: Path, spec: dict[str, Any]) -> None:
    page = comparison(job(tmp_path, 2.0, 1.9, 2.1), job(tmp_path, 3.0, 2.9, 3.1, **spec))
    assert page.verdict == "not comparable"


def test_a_job_without_a_rate_is_not_compared(tmp_path: Path) -> None:
    page = comparison(job(tmp_path, 2.0, 1.9, 2.1), job(tmp_path, None, 0.0, 0.0))
    assert (page.verdict, page.tone) == ("not comparable", "unclear")
