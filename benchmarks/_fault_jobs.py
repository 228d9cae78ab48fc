"""The jobs into which faults are injected."""

from __future__ import annotations

from typing import Any

from benchmarks._fault_case import Case
from benchmarks._fault_world import ROOT
from tests.models import tiny_llama

BUCKET = "faults"

__all__ = ["BUCKET", "elsewhere", "queued", "real", "served", "simulated"]


def simulated(case: Case) -> dict[str, Any]:
    """A search on paper, each trial in a worker process of its own."""
    adjusted = case.rng.random() < 0.25
    quick = {"name": "doubling", "requests_per_probe": 40, "max_probes": 6}
    return {
        "flow": "tune",
        "model": {"name": "qwen-2.5-7b"},
        "engine": {"name": "simulated", "flags": {"seed": case.rng.randrange(1000)}},
        "flow_params": {
            "num_trials": 2,
            "space": {"tensor_parallel": [1, 2], "max_num_seqs": [64, 256]},
        },
        "compute": {"sku": "H100_2"},
        "workload": {"prompt_tokens": 1200, "output_tokens": 80},
        "slo": ["p95(e2e) <= 500 ms"],
        "method": {"name": "adjusted"} if adjusted else quick,
        "tuner": {"name": "random", "finalists": 0, "transfer": False},
        "budget": {"wall_time_s": 3600},
    }


def served(case: Case) -> dict[str, Any]:
    """The default and another configuration on a server that is a process."""
    return {
        "flow": "tune",
        "model": {"name": "tiny", "uri": (case.world.folder / "model").as_uri()},
        "engine": {"name": "vllm", "start_timeout_s": 5.0},
        "flow_params": {"num_trials": 1, "space": {"max_num_seqs": [8, 16]}},
        "compute": {"sku": "CPU_2"},
        "workload": {"prompt_tokens": 8, "output_tokens": 4},
        "slo": ["p95(e2e) <= 2 s"],
        "method": {
            "name": "doubling",
            "requests_per_probe": 40,
            "max_probes": 4,
            "warmup_requests": 2,
        },
        "tuner": {"name": "random", "finalists": 0, "racing": False, "transfer": False},
        "budget": {"wall_time_s": 3600},
    }


def elsewhere(case: Case) -> dict[str, Any]:
    """As ``served``, with the model and the place of the bundle in a bucket."""
    spec = served(case)
    model = {"name": "tiny", "uri": f"s3://{BUCKET}/model"}
    return {**spec, "model": model, "publish": {"uri": f"s3://{BUCKET}/bundles"}}


def queued(case: Case) -> dict[str, Any]:
    """A search on paper that holds its devices, so that a queue has to admit its stages."""
    spec = simulated(case)
    return {**spec, "engine": {**spec["engine"], "hold_devices": True}}


def real(case: Case) -> dict[str, Any]:
    """The default configuration of a tiny random model on vLLM itself."""
    model = tiny_llama(ROOT / ".cache/models/tiny-llama")
    spec = served(case)
    return {
        **spec,
        "flow": "benchmark",
        # a busy machine fails a probe by itself or sends late, and a fast one ends forty requests
        # too soon to say: what is looked at here is the fault
        "method": {
            **spec["method"],
            "requests_per_probe": 150,
            "max_probes": 12,
            "max_lag_ms": 1000.0,
        },
        "model": {"name": "tiny", "uri": model.resolve().as_uri()},
        "engine": {"name": "vllm"},
        "workload": {"prompt_tokens": 16, "output_tokens": 4},
    }
