from __future__ import annotations

import json
from pathlib import Path

import pytest

from optikit.stages._licence import licence_files, licence_of


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# M\n", "apache-2.0"),
        ("---\nlicense: 'mit' # really\n---\n", "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlicense:\n- mit\n- bsd-3-clause\n---\n", "mit, bsd-3-clause"),
        ("---\nlicense: other\nlicense_name: llama3.1\n---\n", "llama3.1"),
        ("---\nlicense: other\n---\n", "other"),
        ("# M\nlicense: not front matter\n", "The Licence"),
        ("---\nlicense:\ntags: x\n---\n", "The Licence"),
        ("---\nlicense: {a: b}\n---\n", "The Licence"),
        ("---\na: &x [1]\nlicense: *x\n---\n", "The Licence"),
        ('---\nlicense: "\\e[31mred"\n---\n', "The Licence"),
        (None, "The Licence"),
    ],
)
def test_the_licence_a_folder_states(tmp_path: Path, readme: str | None, expected: str) -> None:
    (tmp_path / "LICENSE").write_text("\n  # The Licence\nmore\n")
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    assert licence_of(tmp_path) == expected


def test_a_config_states_it_where_the_card_does_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"license": "mit"}))
    assert licence_of(tmp_path) == "mit"
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert licence_of(tmp_path) == "apache-2.0"


@pytest.mark.parametrize("config", ["no JSON", "[]", '{"license": 3}'])
def test_a_folder_that_states_none(tmp_path: Path, config: str) -> None:
    (tmp_path / "license_notes.json").write_text("{}")
    (tmp_path / "config.json").write_text(config)
    assert licence_of(tmp_path) is None


def test_every_file_of_a_licence_is_found(tmp_path: Path) -> None:
    for name in ("LICENSE.txt", "NOTICE", "COPYING.md", "config.json", "Licence-MIT"):
        (tmp_path / name).write_text("x")
    (tmp_path / "licenses").mkdir()
    found = [path.name for path in licence_files(tmp_path)]
    assert found == ["COPYING.md", "LICENSE.txt", "Licence-MIT", "NOTICE"]
