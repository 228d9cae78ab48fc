"""The last comparison, as a runner drives it: given configurations, each on a fresh server, in the
order given; as many side by side as the devices hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from optikit.errors import OptikitError
from optikit.runners.base import Launch
from optikit.spec.plan import Plan
from optikit.spec.record import Trial
from optikit.stages._measure import Ask, again, launched, measure_here, settled
from optikit.stages.base import Tools, resources_for

__all__ = ["FinalistSearch"]


class FinalistSearch:
    """See ``runners.base.Search``.

    Args:
        asks: what to measure, in this order.
        expected_s: how long each of these took before, start-up included, by trial.
        storage: where the runner keeps what is its own.
    """

    def __init__(
        self,
        tools: Tools,
        plan: Plan,
        asks: Sequence[Ask],
        expected_s: Mapping[str, float],
        storage: Path,
    ) -> None:
        self._tools, self._plan, self._storage = tools, plan, storage
        self._expected_s = expected_s
        self._left = deque(asks)
        self._again: deque[Launch] = deque()
        self._asks: dict[str, tuple[Ask, int]] = {}
        self.trials: list[Trial] = []
        """Those that ended, in the order of their ends."""

    @property
    def finished(self) -> bool:
        """Nothing is left to start."""
        return not self._left and not self._again

    @property
    def folder(self) -> Path:
        """Where a runner may keep a state of its own."""
        return self._storage

    def next(self, free: int) -> Launch | None:
        """The next one; None: there is none.

        Raises:
            BudgetExceeded: the job's time is up.
        """
        if self._again:
            return self._again.popleft()
        self._tools.journal.remaining_s()
        if not self._left:
            return None
        ask = self._left.popleft()
        self._asks[ask.trial_id] = (ask, 1)
        devices = ask.serving.devices
        return Launch(
            trial_id=ask.trial_id,
            devices=devices,
            resources=resources_for(self._plan, devices),
            expected_s=self._expected_s.get(ask.of or "") or None,
            task=measure_here,
            args=(self._tools.without_pool(), self._plan, ask),
        )

    def start(self, launch: Launch) -> None:
        """The measurement begins."""
        launched(self._tools.journal, self._asks[launch.trial_id][0])

    def done(self, launch: Launch, answer: Trial | OptikitError, occupied_s: float) -> None:
        """It answered, or its worker did not.

        Raises:
            OptikitError: what is no fault of the configuration.
        """
        ask, number = self._asks[launch.trial_id]
        trial = settled(self._tools.journal, ask, answer, number, occupied_s)
        if trial is None:
            self._asks[ask.trial_id] = (ask, number + 1)
            self._again.append(again(launch, number))
        else:
            self.trials.append(trial)
