"""Any spec is a plan or one of our errors with a key in it; benchmarks/fuzz_specs.py: more."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from optikit.api import Submitter
from tests.mutations import bases, key_words, mutated, outcome

COUNT, SEED = 2_500, 20_261
LONGEST_S = 5.0
"""Of one spec, on a machine that does other things as well."""


@pytest.fixture
def submitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submitter:
    monkeypatch.setenv("OPTIKIT_ENGINE_PYTHON", str(tmp_path / "no-engine"))
    monkeypatch.chdir(tmp_path)
    return Submitter(tmp_path / "home")


def test_what_is_mutated_is_sound(submitter: Submitter) -> None:
    keys = key_words()
    assert {"sku", "num_trials", "wall_time_s", "prefix_tokens", "extra_flags"} <= keys
    found = Counter(outcome(spec, submitter, keys) for spec in bases())
    assert found["plan"] > len(bases()) / 2


def test_the_same_seed_gives_the_same_specs() -> None:
    assert [repr(spec) for spec in mutated(50, 1)] == [repr(spec) for spec in mutated(50, 1)]
    assert [repr(spec) for spec in mutated(50, 1)] != [repr(spec) for spec in mutated(50, 2)]


def test_a_mutated_spec_is_a_plan_or_an_error_that_names_a_key(submitter: Submitter) -> None:
    keys = key_words()
    found: Counter[str] = Counter()
    for number, spec in enumerate(mutated(COUNT, SEED)):
        began = time.process_time()
        try:
            found[outcome(spec, submitter, keys)] += 1
        except Exception as error:
            raise AssertionError(
                f"spec {number}: {type(error).__name__}: {error}\n{spec}"
            ) from error
        assert time.process_time() - began < LONGEST_S, f"spec {number} took too long\n{spec}"
    assert found["plan"] > COUNT / 20  # else the mutations are too rough to test anything
    assert found["SpecError"] > COUNT / 4
