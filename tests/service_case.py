"""A service without its server: what tests of the desk and of the routes start from."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optikit.archive import JobArchive
from optikit.service.database import Database, Entry
from optikit.service.desk import Desk
from optikit.service.limits import Limits
from optikit.service.teams import add
from optikit.spec.queue import Team
from optikit.spec.record import PublishRecord
from tests.doubles import certificate

SPEC: dict[str, Any] = {
    "flow": "benchmark",
    "model": {"name": "qwen-2.5-7b"},
    "engine": {"name": "simulated", "flags": {"seed": 3}},
    "compute": {"sku": "H100_2"},
    "workload": {"prompt_tokens": 1200, "output_tokens": 80},
    "slo": ["p95(e2e) <= 2 s"],
}
"""A job in virtual time: seconds, no devices."""


class QuietQueue:
    """A double of the dispatcher: it shows a queue and starts nothing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def places(self, team: str) -> list[dict[str, Any]]:
        """What a team's jobs wait for."""
        return [{"job": f"of {team}", "state": "queued"}]

    def level(self, team: str) -> float:
        """Device-hours per weight."""
        return 1.5

    def between_turns(self) -> AbstractContextManager[Any]:
        """As the dispatcher."""
        return self.lock


@dataclass
class Service:
    """A desk with two teams, a and b."""

    home: Path
    limits: Limits = field(default_factory=lambda: Limits(per_minute=6e6, burst=100_000))
    queue: QuietQueue = field(default_factory=QuietQueue)

    def __post_init__(self) -> None:
        self.database = Database(self.home)
        self.database.claim()
        self.tokens: dict[str, str] = {}
        for name in ("a", "b"):
            token = add(self.database, Team(name=name, quota={"H100": 8}))
            assert token is not None
            self.tokens[name] = token
        self.desk = Desk(self.database, self.queue, limits=self.limits)

    def team(self, name: str = "a") -> Team:
        return self.desk.team(self.tokens[name])

    def submit(self, name: str = "a", key: str | None = None, **changes: Any) -> Entry:
        return self.desk.submit(self.team(name), {**SPEC, **changes}, 0, key)[0]


def serving(**more: Any) -> dict[str, Any]:
    """A serving config, as an event of a journal has it."""
    return {"max_model_len": 64, "tensor_parallel": 2, **more}


def trial(name: str, rps: float | None, **more: Any) -> dict[str, Any]:
    """A trial, as an event of a journal has it."""
    rate = {
        "outcome": "pass" if rps else "infeasible",
        "rate_rps": rps,
        "preliminary": True,
        "reason": "it held" if rps else "it did not hold",
        "method": "doubling",
        "requests": 60,
    }
    facts = {"id": name, "number": 0, "purpose": "tune", "variant": "baseline"}
    measured = {"state": "complete", "model_digest": "d", "serving": serving(), "rate": rate}
    return {**facts, **measured, **more}


def ended(archive: JobArchive, verdict: str = "pass", state: str = "done") -> None:
    """The last word of a job."""
    archive.event("state", state=state, exit_code=0, message="so it is", verdict=verdict)


def publish(archive: JobArchive, **changes: Any) -> Path:
    """End a job with a bundle that has a certificate; the bundle's folder."""
    bundle = archive.home / "bundles" / "two words"
    bundle.mkdir(parents=True)
    (bundle / "certificate.json").write_text(certificate(**changes).model_dump_json())
    archive.commit(
        PublishRecord(
            inputs_digest="d",
            bundle=str(bundle),
            model_name="m",
            model_version="3",
            trial="t0",
            certificate_digest="c",
        )
    )
    ended(archive)
    return bundle
