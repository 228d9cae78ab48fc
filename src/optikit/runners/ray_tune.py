"""The same search through Ray Tune: its controller starts the trials, a placement group each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from optikit.adapters.ray import connected
from optikit.adapters.ray_tune import Job, check_installed, run_trials
from optikit.core.packing import Held, look_ahead, usage_of
from optikit.errors import BadInput, BudgetExceeded, OptikitError
from optikit.pools.base import Pool, answer_of
from optikit.runners.base import LAST_WORDS_S, Launch, Search, held_of
from optikit.spec.record import Usage

__all__ = ["RUNNER"]


class _Source:
    def __init__(self, search: Search, devices: int, left_s: Callable[[], float]) -> None:
        self._search = search
        self._devices = devices
        self._left_s = left_s
        self._launches: dict[str, Launch] = {}
        self._began: dict[str, float] = {}
        self._over: BudgetExceeded | None = None
        self._until = 0.0
        self.held: list[Held] = []

    def next(self, running: int) -> Job | None:
        """The search's next trial, while there are devices that none holds. Those that wait do not
        count: a small one may start beside a large one that waits."""
        free = self._devices - sum(self._launches[key].devices for key in self._began)
        if self._over is not None or self._search.finished or free <= 0:
            return None
        try:
            launch = self._search.next(free)
        except BudgetExceeded as error:
            self._end_of_time(error)
            return None
        if launch is None:
            return None
        self._launches[launch.trial_id] = launch
        wish = launch.resources
        return Job(
            key=launch.trial_id,
            cpus=wish.cpus,
            gpus=wish.gpus,
            accelerator=wish.accelerator,
            work=answer_of,
            args=(launch.task, launch.args),
            fitness=_fitness,
        )

    def started(self, key: str) -> None:
        """Tune's actor is there."""
        self._began[key] = time.monotonic()
        self._search.start(self._launches[key])

    def ended(self, key: str, answer: Any) -> None:
        """Tell the search."""
        launch, now = self._launches.pop(key), time.monotonic()
        began = self._began.pop(key, None)
        if began is None:  # its actor never stood: as if it had begun just now
            began = now
            self._search.start(launch)
        self.held.append(held_of(launch, answer, began, now))
        self._search.done(launch, answer, now - began)

    def stop(self) -> bool:
        """At the end of the job's time, once no trial has last words."""
        if self._over is None:
            try:
                self._left_s()
            except BudgetExceeded as error:
                self._end_of_time(error)
        if self._over is None:
            return False
        if self._began and time.monotonic() < self._until:
            return False
        raise self._over

    def _end_of_time(self, error: BudgetExceeded) -> None:
        self._over, self._until = error, time.monotonic() + LAST_WORDS_S


class RayTune:
    """Tune keeps a state of its own in the search's folder, and goes on with it after a kill."""

    name = "ray_tune"
    pool = "ray"

    def run(
        self,
        search: Search,
        pool: Pool,
        devices: int | Mapping[str, int],
        left_s: Callable[[], float],
    ) -> Usage:
        """Run the search on the Ray that the pool stands on; nodes are Ray's to choose.

        Raises:
            BadInput: Ray Tune is not installed, or the pool is none of Ray's.
            OptikitError: what the search or the budget raised.
        """
        check_installed()
        if not connected():
            raise BadInput(
                "the runner ray_tune runs trials on Ray, and this job's pools are not Ray's; "
                "choose pools: ray, or the runner packed"
            )
        count = devices if isinstance(devices, int) else sum(devices.values())
        source = _Source(search, count, left_s)
        began = time.monotonic()
        if not search.finished:
            run_trials(source, search.folder, look_ahead(count))
        return usage_of(count, source.held, began, time.monotonic())


def _fitness(answer: Any) -> float | None:
    if isinstance(answer, OptikitError):
        return None
    value = getattr(answer, "fitness", None)
    return None if value is None else float(value)


RUNNER = RayTune()
