from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.service.shown import paths_said, shown

HOME = Path("/srv/opti kit/teams/a")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("see /srv/opti kit/teams/a/jobs/j1/driver.log", "see ~/jobs/j1/driver.log"),
        ("no job 'x' under /srv/opti kit/teams/a; Known: y", "no job 'x' under ~; Known: y"),
        ("/srv/opti kit/teams/ab/jobs", ".../teams/ab/jobs"),
        ("/srv/opti kit/service.db is busy", ".../service.db is busy"),
        ("cannot run /usr/bin/nothing (gone)", "cannot run .../nothing (gone)"),
        ('File "/usr/lib/python3.11/json.py", line 3', 'File ".../json.py", line 3'),
        ("file:///usr/share/model", "file:.../model"),
        ("GET /v1/models: 404", "GET /v1/models: 404"),
        ("http://127.0.0.1:8000/v1/completions", "http://127.0.0.1:8000/v1/completions"),
        ("1/2 of 3/4, a/b and ~/c", "1/2 of 3/4, a/b and ~/c"),
    ],
)
def test_a_path_outside_the_teams_home_keeps_its_last_part(text: str, seen: str) -> None:
    assert shown(text, HOME) == seen


def test_roots_with_a_space_are_known_by_name() -> None:
    assert str(Path(sys.prefix)) not in shown(f"{sys.prefix}/bin/python", HOME)


def test_what_the_team_named_itself_is_said_back() -> None:
    spec = {"dataset": {"path": "/usr/share/data"}, "model": {"uri": "file:///usr/share/m"}}
    said = paths_said(spec)
    text = "no dataset at /usr/share/data; nor /usr/share/m, nor /usr/share/other"
    assert (
        shown(text, HOME, said) == "no dataset at /usr/share/data; nor /usr/share/m, nor .../other"
    )
    assert shown(spec, HOME, said) == spec


def test_numbers_that_json_does_not_know_are_null() -> None:
    data = {"a": [math.inf, -math.inf, math.nan, 1.5, 3, True, None], "b": ("x",)}
    assert shown(data, HOME) == {"a": [None, None, None, 1.5, 3, True, None], "b": ["x"]}


WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=6)


@given(
    st.lists(WORDS, min_size=2, max_size=5), st.sampled_from([" ", "'", '"', "(", "=", ":", "\n"])
)
def test_no_folder_of_this_machine_is_told(parts: list[str], before: str) -> None:
    path = "/usr/" + "/".join(parts)
    seen = shown(f"it says{before}{path} and so on", HOME)
    assert path not in seen
    assert "/usr/" not in seen
    assert parts[-1] in seen
