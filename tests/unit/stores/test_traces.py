"""Trace files: three shapes are read, everything else is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import BadInput
from optikit.spec.workload import Trace
from optikit.stores import traces
from optikit.stores.traces import read_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:00,879,55
"""
PLAIN = "arrival_s,prompt_tokens,output_tokens\n"


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_trace(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_azure_keeps_seven_digits(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, AZURE))
    assert trace.arrivals_s == (0.0, 4.314579, 13.31941)
    assert trace.prompt_tokens == (374, 396, 879)
    assert trace.output_tokens == (44, 109, 55)
    assert trace.source == str(tmp_path / "t.csv")


def test_azure_of_2024_with_time_zone_a_byte_order_mark_and_more_columns(tmp_path: Path) -> None:
    text = (
        "\ufeffid,GeneratedTokens,TIMESTAMP,ContextTokens\r\n"
        "a,12,2024-05-10 00:00:00.009930+00:00,2162\r\n"
        "b,13,2024-05-10 02:00:00.0099305+02:00,2399\r\n"
        "c,14,2024-05-10 00:00:01+00:00,76\r\n"
    )
    trace = read_trace(written(tmp_path, text))
    assert trace.arrivals_s == (0.0, 5e-7, 0.99007)
    assert trace.prompt_tokens == (2162, 2399, 76)


def test_mooncake_counts_in_milliseconds(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]},
        {"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]},
    ]
    text = "\n".join(map(json.dumps, rows)) + "\n\n"
    trace = read_trace(written(tmp_path, text, "mooncake.txt"))
    assert trace.arrivals_s == (0.0, 3.053)
    assert trace.prompt_tokens == (6955, 6472)
    assert trace.output_tokens == (52, 26)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(1, 10**4)),
        min_size=2,
        max_size=30,
    ).filter(lambda rows: len({row[0] for row in rows}) > 1)
)
def test_plain_columns_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]
) -> None:
    rows.sort(key=lambda row: row[0])
    text = PLAIN + "".join(f"{at / 8},{prompt},{output}\n" for at, prompt, output in rows)
    trace = read_trace(written(tmp_path_factory.mktemp("t"), text))
    assert trace.arrivals_s == tuple((at - rows[0][0]) / 8 for at, _, _ in rows)
    assert trace.prompt_tokens == tuple(prompt for _, prompt, _ in rows)
    assert Trace.model_validate_json(trace.model_dump_json()) == trace


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty line"),
        ("a,b\n1,2\n", "columns a, b; known columns: TIMESTAMP, ContextTokens"),
        ('{"timestamp": 1, "tokens": 2}\n', "columns timestamp, tokens; known"),
        (PLAIN, "holds 0 request(s)"),
        (PLAIN + "0,1,1\n", "holds 1 request(s)"),
        (PLAIN + "1,1,1\n1,1,1\n", "all 2 requests arrive at one instant"),
        (PLAIN + "0,1,1\n1,x,1\n", "line 3: prompt_tokens must be a whole number"),
        (PLAIN + "0,1,1\n1,1.5,1\n", "line 3: prompt_tokens must be a whole number"),
        (PLAIN + "0,1,1\n1,1,-4\n", "line 3: output_tokens is -4"),
        (PLAIN + "0,1,1\n\n1,1,0\n", "line 4: output_tokens is 0; a request has 1 to"),
        (PLAIN + "0,1,1\n1,1,99999999\n", "line 3: output_tokens is 99999999"),
        (PLAIN + "0,1,1\n1,1\n", "line 3: has no output_tokens"),
        (PLAIN + "0,1,1\nnan,1,1\n", "line 3: arrival_s must be seconds"),
        (PLAIN + "-1,1,1\n1,1,1\n", "line 2: arrival_s must be seconds"),
        (PLAIN + "0,1,1\n1e999,1,1\n", "line 3: arrival_s must be seconds"),
        (PLAIN + '0,1,1\n"1,1,1\n', "no readable CSV"),
        (PLAIN.encode() + b"0,1,1\n\xff,1,1\n", "no UTF-8 text"),
        (AZURE + "yesterday,1,1\n", "line 5: TIMESTAMP must be a date and time, found 'yesterday'"),
        ('{"timestamp": 1, "input_length": 2, "output_length": 2}\n{"time', "line 2: is no JSON"),
        ('{"timestamp": 1, "input_length": 2, "output_length": 2}\n[1]\n', "is no object but list"),
        ('{"timestamp": true, "input_length": 2, "output_length": 2}\n', "line 1: timestamp must"),
        ('{"timestamp": 0, "input_length": [2], "output_length": 2}\n', "line 1: input_length"),
        (f'{{"timestamp": 0, "input_length": 1{"0" * 400}, "output_length": 2}}\n', "input_length"),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in refusal(written(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    assert "which is no file here" in refusal(tmp_path / "none.csv")
    assert "which is no file here" in refusal(tmp_path)


def test_disorder_names_both_lines_and_how_to_sort(tmp_path: Path) -> None:
    text = PLAIN + "0,1,1\n10,1,1\n9.5,1,1\n"
    said = refusal(written(tmp_path, text, "my trace.csv"))
    assert "line 4: arrives at 9.5, before line 3" in said
    assert "sort -t, -s -g -k1,1" in said
    row = '{{"timestamp": {}, "input_length": 1, "output_length": 1}}\n'
    said = refusal(written(tmp_path, row.format(5) + row.format(4), "m.jsonl"))
    assert "jq -sc 'sort_by(.timestamp)[]'" in said


def test_bounds_of_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, PLAIN + "".join(f"{at},1,1\n" for at in range(50)))
    monkeypatch.setattr(traces, "MAX_TRACE_ROWS", 49)
    assert "more than 49 requests" in refusal(path)
    monkeypatch.setattr(traces, "MAX_TRACE_BYTES", 60)
    assert "larger than" in refusal(path)
    monkeypatch.setattr(traces, "_MAX_LINE", 20)
    assert "has a line of over" in refusal(path)
