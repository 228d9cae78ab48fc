"""Job specs with something wrong in them: the shipped examples and a full one, mutated by seed."""

from __future__ import annotations

import copy
import datetime
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from optikit.api import Submitter
from optikit.errors import BadInput
from optikit.spec.job import OptimizationJob
from optikit.spec.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
FULL: dict[str, Any] = {
    "flow": "quantize_and_tune",
    "model": {"name": "llama-70b", "version": "1", "trust_remote_code": False},
    "dataset": {"path": "data", "text_field": "text", "split": "train"},
    "flow_params": {
        "recipe": ["int_w8a8", "fp8_dynamic"],
        "num_compression_trials": 2,
        "num_trials": 20,
        "ablation": True,
        "calibration_samples": 64,
        "calibration_tokens": 256,
        "calibration_seed": 1,
        "sampling": "stratified",
        "compression_memory_gib": 40.0,
        "space": {
            "tensor_parallel": [4, 8],
            "max_num_seqs": [64, 256],
            "max_num_batched_tokens": [4096, 8192],
            "data_parallel": [1, 2],
            "gpu_memory_utilization": [0.8, 0.9],
            "enable_prefix_caching": "search",
            "kv_cache_dtype": ["auto", "fp8"],
            "block_size": [16, 32],
            "speculative_ngram": [0, 3],
            "scheduling_policy": ["fcfs"],
            "enforce_eager": [True, False],
            "extra_flags": {
                "noise": {"low": 0.01, "high": 0.05, "steps": 3, "type": "float"},
            },
        },
    },
    "compute": {"sku": "H100_8", "prices": {"H100_8": 2.5}},
    "workload": {
        "prompt_tokens": {"distribution": "lognormal", "mean": 1200, "std": 900, "high": 8000},
        "output_tokens": {"distribution": "uniform", "low": 50, "high": 350},
        "prefix_tokens": 0,
        "distinct_prompts": None,
        "arrivals": "gamma",
        "burstiness": 0.5,
        "seed": 3,
    },
    "slo": ["p95(e2e) <= 30 s", "goodput(ttft <= 2 s, e2e <= 60 s) >= 95 %"],
    "engine": {"name": "simulated", "start_timeout_s": 60, "flags": {"seed": 1}},
    "tuner": {
        "name": "gp_prior",
        "seed": 1,
        "slo_penalty_weight": 1.0,
        "objective": "per_gpu",
        "racing": True,
        "finalists": 2,
        "finalist_runs": 2,
        "runner": "packed",
        "storage": None,
        "transfer": True,
    },
    "method": {
        "name": "adjusted",
        "requests_per_probe": 500,
        "max_probes": 40,
        "max_search_s": 86400,
        "warmup_requests": 8,
        "max_lag_ms": 50,
        "slope_tolerance": 0.05,
        "rate_tolerance": 0.05,
        "risk": 0.025,
    },
    "quality": {
        "margin": 0.01,
        "tasks": ["everyday_facts"],
        "limit": 10,
        "baseline_runs": 3,
        "divergence_documents": 64,
        "divergence_tokens": 256,
        "divergence_text": "dataset",
        "on_cannot_tell": "continue",
    },
    "fallback": "baseline",
    "budget": {"wall_time_s": 86400, "gpu_hours": 10},
}
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 63, 10**6, 10**9, 2**63, 10**30, -(10**30), 10**400),
    *(0.0, -0.0, 0.5, 1.5, -2.5, 1e-308, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "a", "0", "-1", "1e9", "true", "null", "search", "none", "auto", "x" * 5000),
    *("\0", "a\0b", "\u00e9\u4e2d", "\ud800", "\n", "../..", "/etc/passwd", "~", "file:///etc"),
    *("s3://b/k", "hf://org/name", "hf://", "http://[", "vllm", "simulated", "tpe", "grid"),
    *("doubling", "int_w4a16", "CPU_2", "A100_1", "H200_8", "poisson", "trace", "ray_tune"),
    *("p95(e2e) <= 1 s", "p0(e2e) <= 1 s", "p100(ttft) <= 1 ms", "p99.9999(itl) <= 1e300 s"),
    *("goodput(e2e <= 1 s) >= 200 %", "p95(e2e) <= nan s", "sqlite:///x.db", "postgresql://h/d"),
    *([], {}, [[]], [None], [1] * 200, {"": ""}, {1: 2}, {None: 1}, {"name": "x"}, ["a", "a"]),
    *({"distribution": "uniform", "low": 1, "high": 10**9}, {"distribution": "zipf"}),
    *({"distribution": "normal", "mean": -5, "std": 1e9, "high": 3}, {"low": 1, "high": 2}),
    *({"low": 1, "high": 1e308, "log": True, "steps": 64}, {"values": [1, "a", 0.5]}),
    *(datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 1, 1), b"bytes", (1, 2)),
)
Place = tuple[Any, Any]
"""A container and a key or index in it."""


def bases() -> list[dict[str, Any]]:
    """What is mutated: a spec with every key, and each example on the simulated engine."""
    found = [FULL, {"model": {"name": "llama-70b"}, "compute": {"sku": "H100_8"}}]
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        spec = yaml.safe_load(path.read_text())
        if isinstance(spec, dict) and "compute" in spec:
            found.append(spec)
    return [{**spec, "engine": spec.get("engine", "simulated")} for spec in found]


def places(value: Any) -> list[Place]:
    """Every key and index of a nested value."""
    found: list[Place] = []
    todo = [value]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict | list):
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            found += [(inner, key) for key in keys]
            todo += [inner[key] for key in keys]
    return found


def mutated(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """So many specs, the same at every call; each has one to four mutations."""
    origins = bases()
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        spec = copy.deepcopy(chance.choice(origins))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
            known = places(spec)
            if known:
                chance.choice(_MUTATIONS)(chance, spec, chance.choice(known))
        yield spec


def _junk(chance: random.Random, spec: Any, place: Place) -> None:
    place[0][place[1]] = copy.deepcopy(chance.choice(JUNK))


def _drop(chance: random.Random, spec: Any, place: Place) -> None:
    del place[0][place[1]]


def _rename(chance: random.Random, spec: Any, place: Place) -> None:
    inner, key = place
    if isinstance(inner, dict):
        word = str(key)
        at = chance.randrange(len(word) + 1)
        other = chance.choice((word[:at] + word[at + 1 :], word + "s", word.upper(), 7, "x.y"))
        inner[other] = inner.pop(key)


def _scale(chance: random.Random, spec: Any, place: Place) -> None:
    inner, key = place
    if isinstance(inner[key], int | float) and not isinstance(inner[key], bool):
        inner[key] = inner[key] * chance.choice((-1, 0.5, 2, 10, 1000, 1_000_000, 0))


def _elsewhere(chance: random.Random, spec: Any, place: Place) -> None:
    inner, key = chance.choice(places(FULL))
    place[0][place[1]] = copy.deepcopy(inner[key])


def _wrap(chance: random.Random, spec: Any, place: Place) -> None:
    inner, key = place
    inner[key] = chance.choice(([inner[key]], {"name": inner[key]}, [inner[key]] * 3))


def _nest(chance: random.Random, spec: Any, place: Place) -> None:
    deep: Any = 1
    for _ in range(30):
        deep = chance.choice(([deep], {"a": deep}))
    place[0][place[1]] = deep


def _extra(chance: random.Random, spec: Any, place: Place) -> None:
    inner = place[0]
    if isinstance(inner, dict):
        inner[chance.choice(("extra", "", "num_trial", 5, "__class__"))] = chance.choice(JUNK)


_MUTATIONS: tuple[Callable[[random.Random, Any, Place], None], ...] = (
    *(_junk, _junk, _junk, _drop, _rename, _scale, _scale, _elsewhere, _wrap, _nest, _extra),
)


def key_words() -> frozenset[str]:
    """Every key that a job spec can have."""
    found: set[str] = set()
    todo: list[Any] = [OptimizationJob]
    seen: set[Any] = set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        if isinstance(one, type) and issubclass(one, BaseModel):
            found |= set(one.model_fields)
            todo += [field.annotation for field in one.model_fields.values()]
        else:
            todo += get_args(one)
    return frozenset(found)


def outcome(spec: dict[str, Any], submitter: Submitter, keys: frozenset[str]) -> str:
    """``plan``, or the class of the error; anything but those is raised.

    Raises:
        AssertionError: an error that names no key, or a plan that the archive could not keep.
    """
    try:
        plan = submitter.plan(OptimizationJob.parse(spec, "job.yaml"))
    except BadInput as error:
        said = str(error)
        assert said.strip(), "an error without a word"
        own = {str(key) or "''" for _, key in places(spec)}
        named = (keys | own) & set(re.findall(r"\w+", said))
        strange = (key for key in own if not key.isalnum())
        assert named or any(key in said for key in strange), f"names no key: {said}"
        return type(error).__name__
    kept = plan.model_dump_json()
    assert Plan.model_validate_json(kept).model_dump_json() == kept
    return "plan"
