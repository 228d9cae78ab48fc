from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.spectext import quoted


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_yaml(text: str) -> None:
    line = quoted(text)
    assert "\n" not in line
    assert yaml.safe_load(f"key: {line}  # a comment") == {"key": text}
