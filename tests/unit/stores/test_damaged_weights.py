"""Weight files that were cut or whose header was altered: refused with a clear error, or whole."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import OptikitError
from optikit.stores.contents import model_digest

TENSORS = {
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "U8", "shape": [8], "data_offsets": [16, 24]},
}
HEADER = json.dumps(TENSORS).encode()
WHOLE = struct.pack("<Q", len(HEADER)) + HEADER + bytes(range(24))


def folder_with(tmp: pytest.TempPathFactory, content: bytes) -> Path:
    folder = tmp.mktemp("model")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(content)
    return folder


@given(size=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_was_cut_is_refused(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    with pytest.raises(OptikitError, match=r"model\.safetensors"):
        model_digest(folder_with(tmp_path_factory, WHOLE[:size]))


@given(places=st.lists(st.integers(0, 8 * len(WHOLE) - 1), min_size=1, max_size=3, unique=True))
def test_a_file_whose_bits_flipped_is_refused_or_another(
    tmp_path_factory: pytest.TempPathFactory, places: list[int]
) -> None:
    """Never another exception, never the old digest."""
    flipped = bytearray(WHOLE)
    for place in places:
        flipped[place // 8] ^= 1 << (place % 8)
    try:
        found = model_digest(folder_with(tmp_path_factory, bytes(flipped)))
    except OptikitError as error:
        assert "model.safetensors" in str(error)  # noqa: PT017
    else:
        assert found != model_digest(folder_with(tmp_path_factory, WHOLE))
