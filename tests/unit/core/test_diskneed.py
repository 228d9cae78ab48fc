"""Never more than what is written in the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optikit.core.candidates import planned_candidates
from optikit.core.diskneed import candidate_bytes, compress_needs, publish_needs
from optikit.core.fit import weight_bytes
from optikit.core.plan import make_plan
from optikit.flows import FLOWS
from optikit.recipes import RECIPES
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.stores.shapes import shipped_shape
from tests.specs import ENGINE, RTN, SMALL

FACTS = [RECIPES.load(name).facts for name in RECIPES.names()]
shapes = st.builds(
    ModelShape,
    architecture=st.just("x"),
    layers=st.integers(1, 80),
    hidden=st.sampled_from([64, 576, 4096]),
    heads=st.just(8),
    kv_heads=st.just(2),
    head_dim=st.just(64),
    intermediate=st.sampled_from([128, 1536, 14336]),
    vocab=st.sampled_from([1000, 49152, 152064]),
    max_context=st.just(2048),
    tied_embeddings=st.booleans(),
    source=st.just("test"),
)


@given(shapes, st.sampled_from([f.name for f in FACTS]), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_candidate_is_never_taken_for_larger_than_it_becomes(
    shape: ModelShape, recipe: str, factor: float
) -> None:
    """Of checkpoints at 8, 16 and 32 bit: what no recipe touches stays as it was."""
    facts = RECIPES.load(recipe).facts
    own_bytes = 2 * factor
    fetched = int(factor * weight_bytes(shape, None))
    per_weight = own_bytes
    if facts.scheme != "none":  # a wide row's scales cost nearly nothing
        per_weight = min(facts.block_bytes_per_parameter, own_bytes) * 0.99
    rest = (shape.embedding_parameters + shape.norm_parameters) * own_bytes
    written = shape.block_parameters * per_weight + rest
    assert candidate_bytes(shape, facts, fetched) <= written


@given(st.floats(0.3, 1.0), st.sampled_from([f.name for f in FACTS if f.scheme != "none"]))
def test_a_shape_that_counts_too_many_weights_asks_for_no_more(real: float, recipe: str) -> None:
    """Where an architecture has fewer weights in its blocks than a gated MLP would."""
    facts = RECIPES.load(recipe).facts
    shape = shipped_shape("qwen-2.5-7b")
    assert shape is not None
    rest = shape.embedding_parameters + shape.norm_parameters
    blocks = real * shape.block_parameters
    fetched = int(2 * (blocks + rest))
    written = blocks * facts.block_bytes_per_parameter * 0.99 + 2 * rest
    assert candidate_bytes(shape, facts, fetched) <= written


def plan(candidates: int = 3) -> Plan:
    recipe = RTN.model_copy(update={"needs_calibration": True, "default_samples": 4})
    job = OptimizationJob.parse(
        {
            "flow": "quantize",
            "model": {"name": "m"},
            "dataset": {"path": "/d"},
            "compute": {"sku": "CPU_2"},
            "flow_params": {"recipe": recipe.name, "num_compression_trials": candidates},
        }
    )
    return make_plan(job, FLOWS.load("quantize"), SMALL, ENGINE, [recipe])


FETCHED = weight_bytes(SMALL, None)
ONE = candidate_bytes(SMALL, RTN, FETCHED)


def test_all_candidates_stay_and_moving_one_into_the_store_is_free() -> None:
    (need,) = compress_needs(plan(), planned_candidates(plan()), FETCHED, {}, one_disk=True)
    assert (need.place, need.bytes) == ("artifacts", 3 * ONE)
    assert "3 candidate(s) of m" in need.what


def test_on_two_disks_one_is_written_twice() -> None:
    jobs, artifacts = compress_needs(
        plan(), planned_candidates(plan()), FETCHED, {}, one_disk=False
    )
    assert (jobs.place, jobs.bytes) == ("jobs", ONE)
    assert (artifacts.place, artifacts.bytes) == ("artifacts", 3 * ONE)


@pytest.mark.parametrize(("twins", "expected"), [(1, 2), (2, 1), (3, 1), (9, 1)])
def test_what_an_earlier_job_stored_may_be_the_same(twins: int, expected: int) -> None:
    stored = {str(number): 2 * ONE for number in range(twins)}
    (need,) = compress_needs(plan(), planned_candidates(plan()), FETCHED, stored, one_disk=True)
    assert need.bytes == expected * ONE, "one at a time is written in any case"
    small = dict.fromkeys("abc", ONE - 1)
    (again,) = compress_needs(plan(), planned_candidates(plan()), FETCHED, small, one_disk=True)
    assert again.bytes == 3 * ONE, "smaller ones are others"


def test_nothing_to_make_needs_nothing() -> None:
    assert compress_needs(plan(), (), FETCHED, {}, one_disk=True) == ()


def test_a_bundle_costs_its_model_on_another_disk_only() -> None:
    assert publish_needs(100, one_disk=True) == ()
    (need,) = publish_needs(100, one_disk=False)
    assert (need.place, need.bytes) == ("bundles", 100)
