from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.checksums import parse_sums
from optikit.errors import UnsafeInput

NAMES = st.from_regex(r"[a-z0-9][a-z0-9 ._-]{0,8}[a-z0-9](/[a-z0-9_-]{1,8})?", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=4)))
def test_what_sha256sum_writes_is_read(files: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    text = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    assert parse_sums(text, "there") == digests
    assert parse_sums(text.replace("  ", " *./", 1), "there") == digests


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "a//b", ".", "a\0b"])
def test_a_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(UnsafeInput, match="there: the list has the line"):
        parse_sums(f"{'0' * 64}  {name}", "there")


@pytest.mark.parametrize("line", ["", "x", f"{'g' * 64}  a", f"{'0' * 63}  a", f"{'0' * 64} a"])
def test_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(UnsafeInput, match="there: the list has the line"):
        parse_sums(f"{'0' * 64}  a\n{line}\n", "there")
