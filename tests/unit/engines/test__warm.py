"""Reading ahead: all weights are asked for, and nothing that is missing is an error."""

from __future__ import annotations

from pathlib import Path

from optikit.engines._warm import read_ahead


def test_every_shard_is_asked_for_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(b"a" * 5000)
    (tmp_path / "model-2.safetensors").write_bytes(b"b" * 300)
    (tmp_path / "config.json").write_bytes(b"{}")
    assert read_ahead(tmp_path) == 5300


def test_what_cannot_be_read_is_left_to_the_engine(tmp_path: Path) -> None:
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert read_ahead(tmp_path) == 0
    assert read_ahead(tmp_path / "no folder") == 0
