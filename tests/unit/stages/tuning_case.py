"""What tests of the search share: a journal in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optikit.errors import BudgetExceeded
from optikit.spec.plan import Plan
from optikit.spec.record import Trial


@dataclass
class Journal:
    """Keeps events; says what an earlier run finished."""

    root: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    finished: list[Trial] = field(default_factory=list)
    trials_left: int = 1000

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append({"kind": kind, **facts})

    def folder(self, *parts: str) -> Path:
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def trials(self) -> list[Trial]:
        return self.finished

    def earlier(self) -> list[tuple[Plan, list[Trial]]]:
        return []

    def remaining_s(self) -> float:
        done = sum(event["kind"] == "trial" for event in self.events)
        if done >= self.trials_left:
            raise BudgetExceeded("budget.wall_time_s: spent")
        return 1e6

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]
