"""Which earlier searches are drawn beside a job's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from optikit.reports._elsewhere import blind_searches
from optikit.reports.plots import write_tuning_plots
from optikit.spec.plan import Plan
from optikit.spec.record import Trial, Variant
from optikit.spec.space import ResolvedSpace
from tests.specs import small_plan
from tests.unit.reports.test_tuning import SPACE, search, trial


def earlier(sampler: str, rate: float = 3.0, **spec: Any) -> tuple[Plan, list[Trial]]:
    plan = small_plan(tuner={"name": sampler}, **spec)
    return plan, [trial("b0", 2.0, purpose="benchmark"), trial("t0", rate)]


def test_the_newest_of_each_blind_sampler_is_shown() -> None:
    found = blind_searches(
        small_plan(),
        "baseline",
        [earlier("tpe", 4.0), earlier("gp_prior"), earlier("random"), earlier("tpe", 5.0)],
    )
    assert [one.sampler for one in found] == ["random", "tpe"]
    assert found[1].steps == ((1.0, 2.0), (2.0, 4.0), (2.0, 4.0))


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"name": "another"}},
        {"workload": {"prompt_tokens": 17}},
        {"slo": ["p95(e2e) <= 9 s"]},
    ],
)
def test_another_question_is_no_comparison(other: dict[str, Any]) -> None:
    assert blind_searches(small_plan(), "baseline", [earlier("random", **other)]) == ()


def test_a_search_without_a_rate_or_of_another_variant_is_none() -> None:
    plan, _ = earlier("random")
    assert blind_searches(plan, "baseline", [(plan, [trial("t0", None)])]) == ()
    assert blind_searches(plan, "compressed", [earlier("random")]) == ()


def test_it_is_drawn_and_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    spaces: dict[Variant, ResolvedSpace] = {"baseline": SPACE}
    beside: dict[Variant, Any] = {
        "baseline": blind_searches(small_plan(), "baseline", [earlier("random")])
    }
    written = write_tuning_plots(tmp_path, search(), spaces, (), False, elsewhere=beside)
    text = "\n".join(ET.parse(written[0]).getroot().itertext())
    assert "random, in an earlier job" in text
