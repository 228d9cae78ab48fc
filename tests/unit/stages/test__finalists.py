"""The last comparison, asked as a runner asks it; nothing is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optikit.archive import JobArchive
from optikit.errors import EngineDied, EngineStartFailed, PortInUse
from optikit.spec.candidate import ArtifactRef
from optikit.spec.record import Trial
from optikit.spec.serving import ServingConfig
from optikit.stages._finalists import FinalistSearch
from optikit.stages._measure import Ask
from optikit.stages.base import Tools
from tests.specs import small_plan

MODEL = ArtifactRef(kind="model", digest="sha256:" + "a" * 64, path="/m", size_bytes=1)


def ask(name: str, of: str) -> Ask:
    serving = ServingConfig(max_model_len=64)
    return Ask(name, 0, "finalist", "baseline", model=MODEL, serving=serving, of=of)


def answer(asked: Ask) -> Trial:
    return Trial(
        id=asked.trial_id,
        number=0,
        purpose="finalist",
        variant="baseline",
        state="complete",
        model_digest=MODEL.digest,
        serving=asked.serving,
        of=asked.of,
    )


@pytest.fixture
def archive(tmp_path: Path) -> JobArchive:
    return JobArchive.create(tmp_path, small_plan(), {})


@pytest.fixture
def search(archive: JobArchive) -> FinalistSearch:
    nothing: Any = None
    tools = Tools(archive, *[nothing] * 13)
    asks = [ask("f0-b0", "b0"), ask("f0-t3", "t3"), ask("f1-t3", "t3")]
    return FinalistSearch(tools, archive.plan(), asks, {"t3": 90.0}, archive.folder("study"))


def test_all_may_run_side_by_side_in_the_order_given(search: FinalistSearch) -> None:
    launches = [search.next(8) for _ in range(3)]
    assert [launch and launch.trial_id for launch in launches] == ["f0-b0", "f0-t3", "f1-t3"]
    assert [launch and launch.expected_s for launch in launches] == [None, 90.0, 90.0]
    assert search.next(8) is None
    assert search.finished


def test_what_ends_is_written_down(search: FinalistSearch, archive: JobArchive) -> None:
    launch = search.next(8)
    assert launch is not None
    search.start(launch)
    search.done(launch, answer(ask("f0-b0", "b0")), 3.0)
    assert [trial.id for trial in search.trials] == ["f0-b0"]
    kinds = [event["kind"] for event in archive.events()]
    assert kinds[-3:] == ["trial_started", "occupied", "trial"]


def test_a_dead_engine_is_tried_once_more(search: FinalistSearch) -> None:
    launch = search.next(8)
    assert launch is not None
    search.done(launch, EngineDied("killed"), 3.0)
    assert not search.trials
    again = search.next(8)
    assert again is not None
    assert (again.trial_id, again.args[:3]) == (launch.trial_id, launch.args)
    search.done(again, EngineDied("killed"), 3.0)
    (trial,) = search.trials
    assert (trial.state, trial.attempts) == ("failed", 2)


def test_a_start_that_its_configuration_fails_is_not(search: FinalistSearch) -> None:
    launch = search.next(8)
    assert launch is not None
    search.done(launch, EngineStartFailed("no memory", cause="out of memory"), 3.0)
    assert [trial.state for trial in search.trials] == ["failed"]


def test_a_taken_port_ends_the_search(search: FinalistSearch) -> None:
    launch = search.next(8)
    assert launch is not None
    with pytest.raises(PortInUse):
        search.done(launch, PortInUse("taken"), 3.0)
