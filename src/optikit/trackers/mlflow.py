"""MLflow, below OptiKIT's home or on a server: a run a job, a nested run a trial, a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from optikit.adapters.mlflow import registry, tracking
from optikit.core.certify import measurement_at_rate
from optikit.spec.record import Trial
from optikit.trackers.base import Registry

__all__ = ["TRACKER", "trial_metrics", "trial_params"]

_KEPT = ("certificate.json", "provenance.json", "serving.yaml", "serve.sh", "README.md")


class Mlflow:
    """Runs are found by job id, nested ones by job and trial id, versions by job id."""

    name = "mlflow"

    def record(
        self,
        home: Path,
        job_id: str,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        trials: Sequence[Trial],
        bundle: Path | None,
        model_name: str,
        tags: Mapping[str, str],
    ) -> str | None:
        """See the protocol; the bundle's certificate and serving.yaml become run artifacts."""
        tags = {**tags, "optikit.job_id": job_id}
        simulated = {key: value for key, value in tags.items() if key == "optikit.simulated"}
        with tracking(home) as store:
            run = store.run(job_id, params=params, metrics=metrics, tags=tags)
            for trial in trials:
                store.run(
                    f"{job_id}/{trial.id}",
                    params=trial_params(trial),
                    metrics=trial_metrics(trial),
                    tags=_trial_tags(job_id, trial) | simulated,
                    parent=run,
                    failed=trial.state == "failed",
                )
            if bundle is None:
                return None
            for name in _KEPT:
                if (bundle / name).is_file():
                    store.keep(run, bundle / name)
            aliases = ["candidate"]
            if tags.get("status") == "certified":
                aliases.append("certified")
            return store.version(model_name, job_id, bundle, run, tags, aliases)

    def registry(self, home: Path) -> AbstractContextManager[Registry | None]:
        """See base.KeepsModels."""
        return registry(home)


def trial_params(trial: Trial) -> dict[str, str]:
    """The serving config, flag by flag, and what was served."""
    serving = trial.serving.model_dump(mode="json", exclude={"extra_flags"})
    flags = {f"flag.{name}": value for name, value in trial.serving.extra_flags}
    facts = {"variant": trial.variant, "purpose": trial.purpose, **serving, **flags}
    return {name: str(value) for name, value in facts.items()}


def trial_metrics(trial: Trial) -> dict[str, float]:
    """Figures of a trial; those that it does not have are absent.

    Latencies are in milliseconds, at the rate that passed: ``p95_e2e_ms`` and so on.
    """
    found: dict[str, float | None] = {
        "fitness": trial.fitness,
        "rate_rps": trial.rate_rps,
        "startup_s": trial.startup_s,
        "measuring_s": trial.measuring_s,
    }
    if trial.rate_rps is not None:
        found["rate_per_device_rps"] = trial.rate_rps / trial.serving.devices
    if trial.rate is not None:
        found["requests"] = float(trial.rate.requests)
        measured = measurement_at_rate(trial.rate)
        if measured is not None:
            found["output_tokens_per_s"] = measured.output_tokens_per_s
            for quantile in measured.quantiles:
                name = f"p{quantile.percentile:g}_{quantile.metric}_ms"
                found[name] = quantile.value_ms
    return {name: value for name, value in found.items() if value is not None}


def _trial_tags(job_id: str, trial: Trial) -> dict[str, str]:
    facts = {
        "optikit.job_id": job_id,
        "optikit.trial": trial.id,
        "optikit.model_digest": trial.model_digest,
        "optikit.outcome": trial.rate.outcome if trial.rate else "failed",
    }
    return facts | ({"optikit.error": trial.error[:500]} if trial.error else {})


TRACKER = Mlflow()
