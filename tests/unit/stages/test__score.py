from __future__ import annotations

from pathlib import Path

import pytest

from optikit.stages._score import _copied


def test_kept_scores_that_vanish_are_measured_again(tmp_path: Path) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "job" / "scores"
    kept.mkdir()
    (kept / "items-1.jsonl").write_text("{}\n")
    assert _copied(kept, folder)
    assert (folder / "items-1.jsonl").read_text() == "{}\n"
    (kept / "items-1.jsonl").unlink()
    kept.rmdir()
    assert not _copied(kept, folder)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        _copied(tmp_path / "kept", tmp_path / "file" / "scores")
