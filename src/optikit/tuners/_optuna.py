"""The only importer of Optuna in this room: ask and tell on a study in a database."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optikit.core.space import Point, PointKey, Space, key_of
from optikit.errors import ArchiveError, BadInput
from optikit.spec.serving import Flag
from optikit.spec.space import Dimension
from optikit.tuners._database import masked, scrubbed, sqlite_url, study_name
from optikit.tuners._grid import not_again, shuffled, walk
from optikit.tuners.base import Outcome, Seen

if TYPE_CHECKING:
    import optuna

__all__ = ["OptunaStudy"]

STARTUP_TRIALS = 6
"""Random points before the estimator speaks; a job of 30 trials has seen its region by then."""
_ASKS = 4
"""Times that the sampler may repeat itself, or propose what cannot stand, before a random unseen
point is taken instead."""
_SPACE, _STARTED = "space", "started"
_POINT, _STATE, _CAUSE, _FOREIGN = "point", "state", "cause", "foreign"
_ENDS = ("complete", "pruned", "failed")
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary"}
"""What to install for a driver that is to work without a compiler."""
_Result = tuple[float | None, str]


class OptunaStudy:
    """A TPE search, resumable from ``storage/study.db`` or from another database.

    An ordered dimension is searched by the index of its values: values grow by factors, so
    neighbours in the grid are neighbours for the estimator. The values themselves stand in each
    trial's user attribute ``point``, what became of it in ``state`` and ``cause``. A dimension with
    a condition is a parameter of those trials alone in which it is active.

    Points outside the space can be told; they teach the sampler nothing. A point that was asked
    but never told (the process died) is asked again, first, by the next start.

    Args:
        url: database; None: an SQLite file in ``storage``.
        known: what other searches saw: finished trials with the attribute ``foreign``, which holds
            their weight. The estimator knows no weights; it takes each as it is.
        startup: random points before the estimator speaks, foreign ones counted.
        starts: points to ask first, computed for a new search only.

    Raises:
        BadInput: Optuna or the database's driver is not installed, or the URL cannot be used.
        ArchiveError: the storage holds a search over another space, or cannot be reached.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        storage: Path,
        *,
        url: str | None = None,
        known: Sequence[Seen] = (),
        startup: int = STARTUP_TRIALS,
        starts: Callable[[], Sequence[Point]] = tuple,
    ) -> None:
        _check_installed()
        import optuna

        logging.getLogger("optuna").setLevel(logging.WARNING)  # else a line a trial
        self._states = optuna.trial.TrialState
        self._space = space
        self._by_name = {d.name: d for d in space.dimensions}
        self._in_order = _in_order(space.dimensions)
        self._distributions = {d.name: _distribution(d) for d in space.dimensions}
        storage.mkdir(parents=True, exist_ok=True)
        self._url = url
        self._file = storage / "study.db"
        self._told: dict[PointKey, _Result] = {}
        self._foreign: dict[PointKey, _Result] = {}
        self._running: dict[PointKey, optuna.Trial] = {}
        self._never = not_again(known)
        with self._reached():
            self._study = optuna.create_study(
                storage=self._database(),
                study_name="tune" if url is None else study_name(storage),
                direction="maximize",
                load_if_exists=True,
            )
            self._check_space()
            past = len(self._study.get_trials(deepcopy=False))
            self._resume()
            for seen in known:
                self._learn_of(seen)
            if _STARTED not in self._study.user_attrs:
                for point in starts():
                    self._enqueue(point, once=True)
                self._study.set_user_attr(_STARTED, True)
        # a resumed search must not draw the first run's numbers again
        chance = np.random.default_rng([seed, past])
        self._rest = walk(space, shuffled(space.combinations, int(chance.integers(2**62))))
        self._spare = next(self._rest, None)
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int(chance.integers(2**31)), multivariate=True, n_startup_trials=startup
        )

    def ask(self) -> Point | None:
        """The sampler's next point; a random one where it only repeats itself."""
        while self._spare is not None and self._seen(key_of(self._spare)):
            self._spare = next(self._rest, None)
        if self._spare is None:
            return None
        with self._reached():
            for _ in range(_ASKS):
                point = self._ask_once()
                if point is not None:
                    return point
            self._enqueue(self._spare)
            while (point := self._ask_once()) is None:
                pass  # points that wait from an earlier run come first; some are known by now
            return point

    def tell(self, point: Point, outcome: Outcome) -> None:
        """Keep the result; the same result of the same point again changes nothing."""
        key, result = key_of(point), _result(outcome)
        with self._reached():
            running = self._running.pop(key, None)
            if running is not None:
                self._finish(running, outcome)
            elif self._told.get(key) == result:
                return
            elif key not in self._never or self._foreign.get(key) != result:
                self._add(point, outcome)
        self._told[key] = result

    def _database(self) -> optuna.storages.RDBStorage:
        import optuna

        url = sqlite_url(self._file) if self._url is None else self._url
        url = url.replace("{", "{{").replace("}", "}}")  # Optuna takes it for a str.format template
        try:
            # trials take long: a server may have closed the connection since the last one
            return optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except ValueError:  # a port that is no number
            raise self._no_url() from None

    def _ask_once(self) -> Point | None:
        trial = self._study.ask()
        point = self._suggested(trial)
        key = key_of(point)
        why_not = "asked before" if self._seen(key) else self._space.why_not(point)
        if why_not is not None:
            trial.set_user_attr(_STATE, f"not started: {why_not}")
            self._study.tell(trial, state=self._states.FAIL)
            return None
        trial.set_user_attr(_POINT, point)
        self._running[key] = trial
        return point

    def _suggested(self, trial: optuna.Trial) -> dict[str, Flag]:
        point: dict[str, Flag] = {}
        for dimension in self._in_order:
            name, values = dimension.name, dimension.values
            if any(point.get(other) != value for other, value in dimension.when):
                continue
            if dimension.ordered:
                point[name] = values[trial.suggest_int(name, 0, len(values) - 1)]
            else:
                chosen = trial.suggest_categorical(name, values)
                assert chosen is not None
                point[name] = chosen
        return point

    def _finish(self, trial: optuna.Trial, outcome: Outcome) -> None:
        # A pruned trial's fitness is an upper bound, often just below the best rate: told as a
        # complete one it would join the good ones. PRUNED ranks behind every complete trial and
        # still counts among the bad ones, which is all that is known of it.
        fitness, state = _result(outcome)
        if state == "pruned" and fitness is not None:
            trial.report(fitness, step=0)
        trial.set_user_attr(_STATE, state)
        if outcome.cause is not None:
            trial.set_user_attr(_CAUSE, outcome.cause)
        value = fitness if state == "complete" else None
        self._study.tell(trial, value, state=self._state(state))

    def _add(self, point: Point, outcome: Outcome, **attributes: Any) -> None:
        """A finished trial that was not asked for; nothing where the point is outside."""
        if not self._space.holds(point):
            return
        import optuna

        fitness, state = _result(outcome)
        attributes |= {_POINT: dict(point), _STATE: state}
        if outcome.cause is not None:
            attributes[_CAUSE] = outcome.cause
        bound = {0: fitness} if state == "pruned" and fitness is not None else None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=self._state(state),
                value=fitness,
                params=self._parameters(point),
                distributions={name: self._distributions[name] for name in point},
                user_attrs=attributes,
                intermediate_values=bound,
            )
        )

    def _learn_of(self, seen: Seen) -> None:
        key, result = key_of(seen.point), _result(seen.outcome)
        if self._foreign.get(key) != result:  # else known from an earlier start
            self._add(seen.point, seen.outcome, **{_FOREIGN: seen.weight})
            self._foreign[key] = result

    def _resume(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == self._states.RUNNING:
                self._study.tell(trial.number, state=self._states.FAIL)
                point = self._point(trial.params)
                if self._space.holds(point):
                    self._enqueue(point)
            # else it was never started, or the process died as its result was written
            elif (state := trial.user_attrs.get(_STATE)) in _ENDS and (
                trial.state == self._state(state)
            ):
                known = self._foreign if _FOREIGN in trial.user_attrs else self._told
                known[key_of(self._point(trial.params))] = (trial.value, state)

    def _check_space(self) -> None:
        space = {
            d.name: {"values": d.values, "when": dict(d.when)} if d.when else d.values
            for d in self._space.dimensions
        }
        wanted = json.loads(json.dumps(space))  # as the database gives it back
        held = self._study.user_attrs.get(_SPACE)
        if held is None:
            self._study.set_user_attr(_SPACE, wanted)
        elif held != wanted:
            raise ArchiveError(
                f"{self._where} holds a search over {held}, not over {wanted}; start a new job, "
                "its search begins in a folder of its own"
            )

    def _enqueue(self, point: Point, once: bool = False) -> None:
        self._study.enqueue_trial(self._parameters(point), skip_if_exists=once)

    def _seen(self, key: PointKey) -> bool:
        return key in self._told or key in self._running or key in self._never

    def _state(self, state: str) -> optuna.trial.TrialState:
        ends = (self._states.COMPLETE, self._states.PRUNED, self._states.FAIL)
        return ends[_ENDS.index(state)]

    def _parameters(self, point: Point) -> dict[str, Flag]:
        dimensions = [self._by_name[name] for name in point]
        return {
            d.name: d.values.index(point[d.name]) if d.ordered else point[d.name]
            for d in dimensions
        }

    def _point(self, parameters: dict[str, Any]) -> dict[str, Flag]:
        found = {name: self._by_name[name] for name in parameters}
        return {
            name: d.values[parameters[name]] if d.ordered else parameters[name]
            for name, d in found.items()
        }

    @property
    def _where(self) -> str:
        return str(self._file) if self._url is None else masked(self._url)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        from optuna.exceptions import StorageInternalError

        # what Optuna itself catches; it lets some through while it connects
        from optuna.storages._rdb.storage import sqlalchemy_exc  # type: ignore[attr-defined]

        try:
            yield
        except ImportError as error:
            driver = getattr(error.__cause__, "name", None) or "its driver"
            package = _PACKAGES.get(driver, driver)
            raise BadInput(
                f"tuner.storage: asked {self._where}, but the database's driver {driver} is not "
                f"installed; pip install '{package}', or leave tuner.storage out"
            ) from None
        except sqlalchemy_exc.ArgumentError:
            raise self._no_url() from None
        except (StorageInternalError, sqlalchemy_exc.SQLAlchemyError) as error:
            text = scrubbed(str(error.__cause__ or error), self._url)
            where = "" if self._url is None else "; see that its server runs and lets this user in"
            raise ArchiveError(
                f"the search's database {self._where} cannot be used: {text}{where}"
            ) from None

    def _no_url(self) -> BadInput:
        return BadInput(
            f"tuner.storage: {self._where} is no database URL that can be used; write it as "
            "postgresql://USER@HOST/NAME"
        )


def _result(outcome: Outcome) -> _Result:
    """Fitness and state; a complete trial without a fitness failed."""
    if outcome.state == "failed" or (outcome.state == "complete" and outcome.fitness is None):
        return None, "failed"
    return outcome.fitness, outcome.state


def _in_order(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Each dimension after those that its condition names."""
    found: list[Dimension] = []
    left = list(dimensions)
    while left:
        names = {d.name for d in left}
        ready = [d for d in left if not any(other in names for other, _ in d.when)]
        if not ready:  # conditions in a circle: none of them can be met first
            break
        found += ready
        left = [d for d in left if d not in ready]
    return found


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    import optuna

    if dimension.ordered:
        return optuna.distributions.IntDistribution(0, len(dimension.values) - 1)
    return optuna.distributions.CategoricalDistribution(dimension.values)


def _check_installed() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise BadInput(
            "the tuners tpe and tpe_warm need Optuna, which is not installed; install it with "
            "pip install 'optikit[tune]', or choose the tuner random or grid"
        )
