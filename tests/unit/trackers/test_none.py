from pathlib import Path

from optikit.trackers import TRACKERS
from optikit.trackers.base import Tracker


def test_it_writes_nothing_and_gives_no_version(tmp_path: Path) -> None:
    tracker: Tracker = TRACKERS.load("none")
    assert tracker.record(tmp_path, "j", {}, {}, [], tmp_path, "m", {}) is None
    assert list(tmp_path.iterdir()) == []
