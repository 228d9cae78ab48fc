"""A job's trials as rows, as a data frame, and as a notebook shows them."""

from __future__ import annotations

import importlib
from typing import Any

from optikit.errors import OptikitError
from optikit.spec._html import table
from optikit.spec.record import Trial
from optikit.spec.serving import ServingConfig

__all__ = ["Trials"]

_SHOWN = 50
_FIGURES = (
    *("id", "number", "purpose", "variant", "state", "outcome"),
    *("rate_rps", "rate_per_device_rps", "predicted_rps", "fitness", "requests"),
    *("startup_s", "measuring_s", "teardown_s", "attempts", "error"),
)
_ENGINE = (
    *("kv_cache_peak", "running_peak", "waiting_peak", "preemptions", "prefix_cache_hit_rate"),
    *("prompt_tokens_per_s", "generation_tokens_per_s", "difference"),
)
_COLUMNS = (
    *("id", "variant", "tensor_parallel", "max_num_seqs", "max_num_batched_tokens"),
    *("outcome", "rate_rps", "predicted_rps", "fitness", "requests"),
)


class Trials(list[Trial]):
    """A list of trials, oldest first."""

    def rows(self) -> list[dict[str, Any]]:
        """One flat mapping a trial: figures of the record, outcome, every serving argument.

        Rates are requests a second of the whole configuration, times seconds; None where a trial
        has no such figure. An argument of ``extra_flags`` has a column ``flag.NAME``, what the
        engine said of itself ``engine.NAME``.
        """
        return [_row(trial) for trial in self]

    def frame(self) -> Any:
        """The rows as a ``pandas.DataFrame``, indexed by the trial's id.

        Raises:
            OptikitError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise OptikitError(
                "trials as a data frame need pandas; pip install 'optikit[tune]' (or use rows())"
            ) from error
        rows = self.rows()
        known = (*_FIGURES, *ServingConfig.model_fields)
        columns = dict.fromkeys((*known, *(name for row in rows for name in row)))
        columns.pop("extra_flags")  # each has a column of its own
        return pandas.DataFrame(rows, columns=list(columns)).set_index("id")

    def _repr_html_(self) -> str:
        """In a notebook: the last ones, by their main figures."""
        left = max(0, len(self) - _SHOWN)
        rows = [_row(trial) for trial in self[left:]]
        return table(_COLUMNS, rows, f"{len(self)} trials", left)


def _row(trial: Trial) -> dict[str, Any]:
    rate, held = trial.rate, trial.rate_rps
    serving = trial.serving.model_dump(mode="json")
    flags = {f"flag.{name}": found for name, found in serving.pop("extra_flags")}
    figures = (
        *(trial.id, trial.number, trial.purpose, trial.variant, trial.state),
        rate.outcome if rate else trial.cause or trial.state,
        *(held, None if held is None else held / trial.serving.devices, trial.predicted_rps),
        *(trial.fitness, rate.requests if rate else None),
        *(trial.startup_s, trial.measuring_s, trial.teardown_s, trial.attempts, trial.error),
    )
    said = trial.engine_metrics
    engine = {f"engine.{name}": getattr(said, name) for name in _ENGINE} if said else {}
    return {**dict(zip(_FIGURES, figures, strict=True)), **serving, **flags, **engine}
