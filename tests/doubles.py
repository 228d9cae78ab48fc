"""A queue in virtual time that takes load, and certificates to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from optikit.core.load import Load
from optikit.core.timings import Timings
from optikit.loadgen.base import Watch
from optikit.spec.endpoint import Endpoint
from optikit.spec.record import Certificate


@dataclass
class Queue:
    """``seats`` requests at a time, each served for ``service_s``; the first token at half of it.

    ``dies_after`` probes every request is refused.
    """

    service_s: float = 0.1
    seats: int = 4
    dies_after: int | None = None
    error: BaseException | None = None
    """Raised in place of the probe in which it would die."""
    name: str = "queue"
    runs: int = 0
    now_s: float = 0.0

    def clock(self) -> float:
        return self.now_s

    @property
    def dead(self) -> bool:
        return self.dies_after is not None and self.runs > self.dies_after

    def run(
        self,
        endpoint: Endpoint,
        load: Load,
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
        watch: Watch | None = None,
        watch_every: int = 32,
        keep_tokens: bool = False,
    ) -> Timings:
        self.runs += 1
        if self.dead and self.error is not None:
            raise self.error
        free = np.zeros(min(self.seats, concurrency or self.seats))
        sent, end = load.at_s.copy(), np.zeros(len(load))
        for index, at in enumerate(load.at_s):
            seat = int(free.argmin())
            begun = max(float(at), float(free[seat]))
            sent[index] = begun if concurrency else at
            free[seat] = end[index] = begun + self.service_s
        self.now_s += float(end[load.last - 1])
        nothing = np.full(len(load), np.nan)
        return Timings(
            scheduled_s=sent,
            sent_s=sent,
            first_token_s=nothing if self.dead else end - self.service_s / 2,
            end_s=nothing if self.dead else end,
            prompt_tokens=load.prompt_tokens,
            output_tokens=load.output_tokens,
            first=load.first,
            last=load.last,
            errors=dict.fromkeys(range(len(load)), "connection refused") if self.dead else {},
        )


def certificate(**changes: Any) -> Certificate:
    """A certificate of a job, as one reads it from a file."""
    quantiles = [
        {"metric": "e2e", "percentile": 95.0, "value_ms": 410.0, "low_ms": 402.0, "high_ms": 419.0},
        {"metric": "lag", "percentile": 99.0, "value_ms": 0.7},
    ]
    facts: dict[str, Any] = {
        "status": "certified",
        "job_id": "j1",
        "created": "2026-11-24T10:00:00+00:00",
        "optikit_version": "0.1.0",
        "model_name": "smollm2",
        "model_digest": "sha256:" + "a" * 64,
        "recipe": "int_w8a8",
        "engine": "vllm",
        "engine_version": "0.32.0",
        "serving": {"max_model_len": 64},
        "command": ["python", "-m", "server", "--name", "two words"],
        "hardware": {"cpu": "a cpu", "cores": "2"},
        "sku": "CPU_2",
        "sent_as": {"vocab": 500},
        "workload": {"prompt_tokens": 32, "output_tokens": 8},
        "slo": ["p95(e2e) <= 500 ms"],
        "method": {"name": "adjusted"},
        "outcome": "pass",
        "rate_rps": 20.0,
        "rate_per_device_rps": 20.0,
        "rate_low_rps": 19.5,
        "rate_high_rps": 22.0,
        "requests": 1500,
        "requests_at_rate": 500,
        "seeds": [11, 12],
        "probes": [
            {
                "number": 1,
                "phase": "certify",
                "rate_rps": 20.0,
                "concurrency": None,
                "requests": 500,
                "verdict": "pass",
                "reason": "held",
            }
        ],
        "measurement": {
            "requests": 500,
            "completed": 500,
            "failed": 0,
            "offered_rps": 20.0,
            "achieved_rps": 19.9,
            "output_tokens_per_s": 160.0,
            "total_tokens_per_s": 800.0,
            "duration_s": 25.0,
            "quantiles": quantiles,
            "mean_e2e_ms": 200.0,
        },
        "client_lag": quantiles[1],
        "quality": {
            "candidate_id": "c0",
            "verdict": "kept",
            "margin": 0.01,
            "reason": "as good",
            "tasks": [],
        },
        "reason": "20 req/s certified",
        "archive_digest": "sha256:" + "b" * 64,
    }
    return Certificate.parse(facts | changes)
