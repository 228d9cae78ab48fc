"""The only importer of Ray Tune: trials that somebody else proposes, run by Tune's controller."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from optikit.adapters.ray_watch import check_raylet
from optikit.errors import BadInput, OptikitError, WorkerDied

__all__ = ["Job", "Source", "check_installed", "run_trials"]

_JOB, _ANSWER, _FITNESS = "job", "answer", "fitness"
_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables; the other output engine obeys verbose=0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths of a task are relative to the job's folder
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the job's
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",  # a sampler may think
}
_QUIET = ("ray.tune", "optuna")


@dataclass(frozen=True)
class Job:
    """One trial: ``work(*args)`` in an actor on a placement group of one bundle."""

    key: str
    cpus: float
    gpus: int
    accelerator: str | None
    work: Callable[..., Any]
    args: tuple[Any, ...]
    fitness: Callable[[Any], float | None]
    """Of an answer, for Tune's own records."""


class Source(Protocol):
    """Proposes jobs and hears of them, always in the thread of ``run_trials``."""

    def next(self, running: int) -> Job | None:
        """The next job; None: nothing now. Nothing runs and None: the end."""

    def started(self, key: str) -> None:
        """The job's actor is there."""

    def ended(self, key: str, answer: Any) -> None:
        """The answer, or WorkerDied."""

    def stop(self) -> bool:
        """Asked several times a second: whether to end all trials now."""


def check_installed() -> None:
    """See that Ray Tune can be imported.

    Raises:
        BadInput: says what is missing.
    """
    needs = ("ray", "optuna", "pandas", "pyarrow", "fsspec")
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"the runner ray_tune needs {', '.join(missing)}, which is not installed; install it "
            "with pip install 'optikit[cluster,tune]', or choose the runner packed"
        )


def run_trials(source: Source, folder: Path, most_pending: int) -> None:
    """Run jobs until the source has none, or says stop.

    Tune's state is kept in ``folder`` (experiment, searcher, trials). Where there is one from a run
    that was killed it is restored; of its trials none runs again, because the source knows which
    are finished and proposes the others anew.

    Args:
        most_pending: how many trials may wait for their placement group at a time.

    Raises:
        ClusterError: the Ray of this process ended.
        OptikitError: what the source raised, after all trials were ended.
    """
    check_installed()
    import ray
    from ray import tune
    from ray.tune.search import Searcher, SearchGenerator
    from ray.tune.search.optuna import OptunaSearch

    failed: list[OptikitError] = []
    names: dict[str, str] = {}
    live: dict[str, Any] = {}

    class Proposed(OptunaSearch):  # type: ignore[misc]
        """OptunaSearch that keeps the record of trials; what each is, the source says."""

        def suggest(self, trial_id: str) -> Any:
            if failed:
                return None if names else Searcher.FINISHED
            try:
                job = source.next(len(names))
            except OptikitError as error:
                failed.append(error)
                return None if names else Searcher.FINISHED
            if job is None:
                return None if names else Searcher.FINISHED
            names[trial_id] = job.key
            return {**super().suggest(trial_id), _JOB: job}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            super().on_trial_complete(trial_id, result, error)
            live.pop(trial_id, None)
            key = names.pop(trial_id)
            answer: Any = (result or {}).get(_ANSWER)
            if not result or _ANSWER not in result:
                if failed:  # ended by us
                    return
                answer = WorkerDied(f"the actor of {key} ended without an answer")
            try:
                source.ended(key, answer)
            except OptikitError as raised:
                failed.append(raised)

    class Generator(SearchGenerator):  # type: ignore[misc]
        """A restored search is not at its end: the source says when."""

        def set_state(self, state: dict[str, Any]) -> None:
            super().set_state({**state, "finished": False})

    class Started(tune.Callback):  # type: ignore[misc]
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            live[trial.trial_id] = trial
            source.started(names[trial.trial_id])

    class Stop(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            if failed:
                return True
            try:
                check_raylet()
                return source.stop()
            except OptikitError as error:
                failed.append(error)
                return True

    class TuneTrial(tune.Trainable):  # type: ignore[misc]
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            job: Job = config[_JOB]
            bundle: dict[str, float] = {"CPU": job.cpus, "GPU": job.gpus}
            if job.accelerator:
                bundle[f"accelerator_type:{job.accelerator}"] = 0.001
            return tune.PlacementGroupFactory([{k: v for k, v in bundle.items() if v}])

        def step(self) -> dict[str, Any]:
            job: Job = self.config[_JOB]
            answer = job.work(*job.args)
            value = job.fitness(answer)
            return {_ANSWER: answer, _FITNESS: value, "done": True}

    whole = False
    try:
        with _settings({**_SETTINGS, "TUNE_MAX_PENDING_TRIALS_PG": str(most_pending)}):
            tune.run(
                TuneTrial,
                name=folder.name,
                storage_path=str(folder.parent.resolve()),
                search_alg=Generator(Proposed(space=_no_parameters, metric=_FITNESS, mode="max")),
                num_samples=-1,
                resume_config=_resumed(folder),
                reuse_actors=False,  # a trial never sees what another left in a process
                raise_on_failed_trial=False,
                callbacks=[Started()],
                stop=Stop(),
                trial_name_creator=_key_of,
                trial_dirname_creator=_key_of,
                verbose=0,
            )
        whole = True
    finally:
        if not whole:  # what is no Exception passes Tune by: its actors would go on
            for trial in live.values():
                actor = trial.temporary_state.ray_actor
                if actor is not None:
                    ray.kill(actor)
    if failed:
        raise failed[0]


def _no_parameters(trial: Any) -> dict[str, Any]:
    """The define-by-run space: Optuna itself has nothing to choose."""
    return {}


def _key_of(trial: Any) -> str:
    job: Job = trial.config[_JOB]
    return f"{job.key}-{trial.trial_id}"


def _resumed(folder: Path) -> Any:
    """Restore what is there; of its trials, run none."""
    from ray.tune import ResumeConfig

    if not any(folder.glob("experiment_state-*.json")):
        return None
    skip = ResumeConfig.ResumeType.SKIP
    return ResumeConfig(finished=skip, unfinished=skip, errored=skip)


@contextmanager
def _settings(values: dict[str, str]) -> Iterator[None]:
    """Tune is set by variables of the environment; and it speaks only of errors."""
    before = {name: os.environ.get(name) for name in values}
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in _QUIET}
    os.environ.update(values)
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
