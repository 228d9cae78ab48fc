"""The only importer of Optuna in this room: ask and tell on a study in an SQLite file."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optikit.errors import ArchiveError, BadInput
from optikit.spec.plan import ResolvedSpace
from optikit.tuners._grid import DIMENSIONS, Key, grid, key_of, point_of_key
from optikit.tuners.base import Point

if TYPE_CHECKING:
    import optuna

__all__ = ["OptunaStudy"]

STARTUP_TRIALS = 6
"""Random points before the estimator speaks; a job of 30 trials has seen its region by then."""
_ASKS = 8
"""Times that the sampler may repeat itself before a random unseen point is taken instead."""
_TOLD = "told"
_SPACE = "space"


class OptunaStudy:
    """A TPE search over the indices of the grid's values, resumable from ``storage/study.db``.

    Indices, because values grow by factors: neighbours in the grid are neighbours for the
    estimator. The values themselves stand in each trial's user attribute ``point``.

    Points outside the space can be told; they teach the sampler nothing. A point that was asked
    but never told (the process died) is asked again, first, by the next start.

    Raises:
        BadInput: Optuna is not installed.
        ArchiveError: the storage holds a search over another space.
    """

    def __init__(self, space: ResolvedSpace, seed: int, storage: Path) -> None:
        _check_installed()
        import optuna

        logging.getLogger("optuna").setLevel(logging.WARNING)  # else a line a trial
        self._states = optuna.trial.TrialState
        self._values = {name: getattr(space, name) for name in DIMENSIONS}
        self._distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.IntDistribution(0, len(values) - 1)
            for name, values in self._values.items()
        }
        self._points = grid(space)
        storage.mkdir(parents=True, exist_ok=True)
        self._study = optuna.create_study(
            storage=optuna.storages.RDBStorage(_sqlite_url(storage / "study.db")),
            study_name="tune",
            direction="maximize",
            load_if_exists=True,
        )
        self._check_space(storage)
        self._told: dict[Key, float | None] = {}
        self._running: dict[Key, optuna.Trial] = {}
        past = len(self._study.get_trials(deepcopy=False))
        self._resume()
        # a resumed search must not draw the first run's numbers again
        self._random = np.random.default_rng([seed, past])
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int(self._random.integers(2**31)),
            multivariate=True,
            n_startup_trials=STARTUP_TRIALS,
        )

    def ask(self) -> Point | None:
        """The sampler's next point; a random one where it only repeats itself."""
        unseen = [key for key in self._points if not self._seen(key)]
        if not unseen:
            return None
        for _ in range(_ASKS):
            point = self._ask_once()
            if point is not None:
                return point
        self._enqueue(unseen[int(self._random.integers(len(unseen)))])
        while (point := self._ask_once()) is None:
            pass  # points that wait from an earlier run come first; some are known by now
        return point

    def tell(self, point: Point, fitness: float | None) -> None:
        """Keep the result; the same result of the same point again changes nothing."""
        import optuna

        key = key_of(point)
        running = self._running.pop(key, None)
        if running is not None:
            running.set_user_attr(_TOLD, True)
            state = self._states.FAIL if fitness is None else None
            self._study.tell(running, fitness, state=state)
        elif not self._inside(key) or (key in self._told and self._told[key] == fitness):
            return
        else:
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=self._states.FAIL if fitness is None else self._states.COMPLETE,
                    value=fitness,
                    params=self._indices(key),
                    distributions=self._distributions,
                    user_attrs={_TOLD: True, "point": point_of_key(key)},
                )
            )
        self._told[key] = fitness

    def _ask_once(self) -> Point | None:
        trial = self._study.ask(self._distributions)
        key = self._key(trial.params)
        if self._seen(key):
            self._study.tell(trial, state=self._states.FAIL)
            return None
        point = point_of_key(key)
        trial.set_user_attr("point", point)
        self._running[key] = trial
        return point

    def _resume(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            if trial.user_attrs.get(_TOLD) and trial.state.is_finished():
                self._told[self._key(trial.params)] = trial.value
            elif trial.state == self._states.RUNNING:
                self._study.tell(trial.number, state=self._states.FAIL)
                if len(trial.params) == len(DIMENSIONS):
                    self._enqueue(self._key(trial.params))

    def _check_space(self, storage: Path) -> None:
        space = {name: list(values) for name, values in self._values.items()}
        held = self._study.user_attrs.get(_SPACE)
        if held is None:
            self._study.set_user_attr(_SPACE, space)
        elif held != space:
            raise ArchiveError(
                f"{storage} holds a search over {held}, not over {space}; start a new job, its "
                "search begins in a folder of its own"
            )

    def _enqueue(self, key: Key) -> None:
        self._study.enqueue_trial(self._indices(key))

    def _seen(self, key: Key) -> bool:
        return key in self._told or key in self._running

    def _inside(self, key: Key) -> bool:
        return all(v in self._values[name] for name, v in zip(DIMENSIONS, key, strict=True))

    def _indices(self, key: Key) -> dict[str, int]:
        return {name: self._values[name].index(v) for name, v in point_of_key(key).items()}

    def _key(self, params: dict[str, int]) -> Key:
        return tuple(self._values[name][params[name]] for name in DIMENSIONS)


def _check_installed() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise BadInput(
            "the tuner tpe needs Optuna, which is not installed; install it with "
            "pip install 'optikit[tune]', or choose the tuner random or grid"
        )


def _sqlite_url(path: Path) -> str:
    text = str(path.absolute())
    for sign in "%?#":  # they have a meaning in a URL; % first
        text = text.replace(sign, f"%{ord(sign):02X}")
    return f"sqlite:///{text}"
