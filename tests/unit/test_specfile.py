from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.errors import SpecError
from optikit.specfile import MAX_BYTES, MAX_DEPTH, parse_mapping, read_mapping


def refused(text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    began = time.process_time()
    with pytest.raises(SpecError) as caught:
        parse_mapping(content, "job spec", "job.yaml")
    assert time.process_time() - began < 0.5
    assert str(caught.value).startswith("job.yaml")
    return str(caught.value)


def test_plain_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("a: 1\nb: {c: [x, 2.5, true, null]}\n# a word\n'd e': 'f: g'\n")
    read = {"a": 1, "b": {"c": ["x", 2.5, True, None]}, "d e": "f: g"}
    assert read_mapping(path, "job spec") == read
    path.write_text('{"a": 1, "b": {"c": ["x", 2.5, true, null]}, "d e": "f: g"}')
    assert read_mapping(path, "job spec") == read


def test_a_billion_laughs_are_refused_in_milliseconds() -> None:
    lines = ['a0: &a0 ["ha", "ha"]']
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert "aliases" in refused("\n".join(lines))
    assert "line 2" in refused("a: &x {b: 1}\nc: *x\n")
    assert "aliases" in refused("a: &x {b: 1}\nc: {<<: *x}\n")
    assert "aliases" in refused("&x a: [*x]\n")


def test_deep_nesting_is_refused() -> None:
    allowed = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_mapping(allowed.encode(), "job spec", "job.yaml")
    assert "nested deeper than 32" in refused("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "nested deeper" in refused("a: " + "[" * 400_000)
    assert "nested deeper" in refused("a: " + "{b: " * 200_000)
    assert "nested deeper" in refused("- " * 400_000)
    assert "nested deeper" in refused("? " * 400_000)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "on line 1 and on line 3"),
        ("x:\n  flow: tune\n  slo: []\n  flow: quantize\n", "on line 2 and on line 4"),
        ("x: [{k: 1, k: 1}]\n", "on line 1 and on line 1"),
        ("1: a\ntrue: b\n", "on line 1 and on line 2"),
    ],
)
def test_a_key_that_is_named_twice_is_refused_with_both_lines(text: str, lines: str) -> None:
    said = refused(text)
    assert "named twice" in said
    assert lines in said


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [true]\n",
        "a: !function evil.run\n",
        "a: !!int x\n",
        "a: !!int ''\n",
        "a: !!bool perhaps\n",
        "a: !!timestamp x\n",
        "a: 2001-99-99\n",
        "a: " + "9" * 6000,
        "a: [\n",
        "a: \x00",
        b"\xff\xfe\xfa",
        b"a: \xff",
        "a: 1\n---\nb: 2\n",
        "a: !!binary 'a'\n",
    ],
)
def test_what_is_no_plain_yaml(text: str | bytes) -> None:
    assert "is not plain YAML" in refused(text)


def test_words_and_sizes_are_bounded() -> None:
    assert "a word of more than" in refused("a: " + ":".join(["59"] * 100_000))
    assert "more than 50000 keys" in refused("a: [" + "1," * 60_000 + "]")
    assert "larger than" in refused(b"#" * (MAX_BYTES + 1))
    assert "found NoneType" in refused("")
    assert "a mapping of keys, found list" in refused("[a]")
    assert "a key must be a word" in refused("? [a, b]\n: 1\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the job spec"):
        read_mapping(tmp_path / "none.yaml", "job spec")
    with pytest.raises(SpecError, match="cannot read the job spec"):
        read_mapping(tmp_path, "job spec")


def test_an_endless_file_is_read_to_the_bound_only() -> None:
    with pytest.raises(SpecError, match="larger than"):
        read_mapping(Path("/dev/zero"), "job spec")


@given(st.text("ab:- \n\t{}[],&*!|>'\"#%@?0.~<=", max_size=60))
def test_any_text_is_a_mapping_or_an_error(text: str) -> None:
    try:
        found = parse_mapping(text.encode(), "job spec", "job.yaml")
    except SpecError:
        return
    assert isinstance(found, dict)
