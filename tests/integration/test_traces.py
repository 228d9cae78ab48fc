"""The commands that a refused trace file advises do what they say."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from optikit.errors import BadInput
from optikit.stores.traces import read_trace

pytestmark = [pytest.mark.integration, pytest.mark.beside]

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:16:00.5000000,879,55
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:46.6805900,374,44
"""
PLAIN = """prompt_tokens,arrival_s,output_tokens
879,100,55
396,20.5,109
374,3,44
"""
MOONCAKE = """{"timestamp": 100, "input_length": 879, "output_length": 55}
{"timestamp": 20.5, "input_length": 396, "output_length": 109}
{"timestamp": 3, "input_length": 374, "output_length": 44}
"""


@pytest.mark.parametrize("text", [AZURE, PLAIN, MOONCAKE], ids=["azure", "plain", "mooncake"])
def test_the_advice_on_sorting_works(tmp_path: Path, text: str) -> None:
    if text is MOONCAKE and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    path = tmp_path / "a trace.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match="in order of arrival") as caught:
        read_trace(path)
    command = str(caught.value).split(" (", 1)[1].removesuffix(")")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    assert read_trace(tmp_path / "sorted").prompt_tokens == (374, 396, 879)
