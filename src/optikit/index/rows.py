"""One job's archive as rows of the index's tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optikit.archive import JobArchive
from optikit.errors import OptikitError
from optikit.reports.listing import team_of
from optikit.reports.moment import Moment
from optikit.reports.summary import FINAL, iso, summary
from optikit.spec.candidate import Candidate
from optikit.spec.quality import QualityVerdict
from optikit.spec.record import (
    Certificate,
    CompressRecord,
    EvaluateRecord,
    Measurement,
    PublishRecord,
    StageRecord,
    Trial,
)

__all__ = ["Rows", "damaged", "listed", "moment", "rows_of"]

Rows = dict[str, list[dict[str, Any]]]
"""Name of a table to the job's rows in it, without the columns that say which job."""
_CORNERS = ("baseline", "quantized", "tuned", "both")
_PERCENTILES = (
    *(("e2e", 50), ("e2e", 95), ("e2e", 99), ("ttft", 50), ("ttft", 95)),
    *(("tpot", 50), ("tpot", 95)),
)
_SERVING = (
    *("devices", "tensor_parallel", "data_parallel", "max_num_seqs", "max_num_batched_tokens"),
    *("max_model_len", "dtype", "kv_cache_dtype", "enable_prefix_caching"),
)


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as the tables have it.

    >>> moment(0.5).isoformat()
    '1970-01-01T00:00:00.500000+00:00'
    """
    return datetime.fromtimestamp(seconds, UTC)


def rows_of(archive: JobArchive) -> Rows:
    """Everything that the index holds of a job.

    Raises:
        OptikitError: the archive cannot be read.
    """
    at = Moment.of(archive)
    try:
        facts, records, trials = summary(at), at.records(), at.trials()
        rows: Rows = {
            "archive_jobs": [_job(at, facts)],
            "archive_stages": [
                {"position": number, "stage": row.pop("name"), **row}
                for number, row in enumerate(facts["stages"])
            ],
            "archive_candidates": _candidates(at, records),
            "archive_trials": [_trial(trial) for trial in trials],
            "archive_probes": [row for trial in trials for row in _probes(trial)],
            "archive_certificates": _certificates(records),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OptikitError(
            f"an event of {archive.journal} is not what it should be: "
            f"{type(error).__name__} {error}"[:300]
        ) from None
    return {name: [_plain(row) for row in found] for name, found in rows.items()}


def damaged(archive: JobArchive, why: str) -> Rows:
    """What can be said of a job whose archive cannot be read."""
    row = {"state": "damaged", "message": why, "created_at": moment(archive.created())}
    return {"archive_jobs": [_plain(row)]}


def _job(at: Moment, facts: dict[str, Any]) -> dict[str, Any]:
    plan, states = at.plan(), at.of_kind("state")
    rates = {
        f"{name}_per_device_rps": facts["corners"].get(name, {}).get("rate_per_gpu")
        for name in _CORNERS
    }
    packages = at.environment().get("packages")
    version = packages.get("optikit") if isinstance(packages, dict) else None
    return {
        **{key: facts[key] for key in ("state", "verdict", "exit_code", "message", "flow")},
        "created_at": moment(at.created()),
        "ended_at": moment(states[-1]["t"]) if states and facts["state"] in FINAL else None,
        "team": team_of(at),
        "model_name": plan.job.model.name,
        "model_version": plan.job.model.version,
        "slo": "; ".join(facts["slo"]),
        **{key: facts[key] for key in ("recipe", "sku", "engine", "simulated", "workload")},
        **rates,
        **{key: facts[key] for key in ("corners", "trials", "device_hours", "winner", "bundle")},
        **{key: facts[key] for key in ("registered", "damaged_lines")},
        "optikit_version": version,
    }


def _candidates(at: Moment, records: dict[str, StageRecord]) -> list[dict[str, Any]]:
    compress, evaluate = records.get("compress"), records.get("evaluate")
    if isinstance(compress, CompressRecord):
        made = list(compress.candidates)
    else:  # it is still at it
        made = [Candidate.parse(event["candidate"]) for event in at.of_kind("candidate")]
    known = evaluate if isinstance(evaluate, EvaluateRecord) else None
    verdicts = {verdict.candidate_id: verdict for verdict in known.verdicts} if known else {}
    chosen = known.chosen if known else None
    latest = {candidate.id: candidate for candidate in made}
    return [_candidate(one, verdicts.get(one.id), chosen) for one in latest.values()]


def _candidate(one: Candidate, quality: QualityVerdict | None, chosen: str | None) -> Any:
    recoveries = [t.recovery for t in quality.tasks if t.recovery is not None] if quality else []
    return {
        "candidate_id": one.id,
        **{key: getattr(one, key) for key in ("recipe", "error", "wall_s", "sampling", "samples")},
        "peak_memory_bytes": one.peak_memory_bytes,
        "goes_on": one.id == chosen,
        "quality": quality.verdict if quality else None,
        "quality_reason": quality.reason if quality else None,
        "recovery": min(recoveries, default=None),
        "size_bytes": one.model.size_bytes if one.model else None,
        "tasks": [task.model_dump(mode="json") for task in quality.tasks] if quality else [],
    }


def _trial(one: Trial) -> dict[str, Any]:
    rate, serving, held = one.rate, one.serving, one.rate_rps
    same = (
        *("number", "purpose", "variant", "state", "model_digest", "fitness", "error", "cause"),
        *("attempts", "startup_s", "measuring_s", "teardown_s", "device_seconds"),
        *("predicted_rps", "rate_rps"),
    )
    of_rate = (
        *("outcome", "rate_low_rps", "rate_high_rps", "saturation_rps", "preliminary"),
        "requests",
    )
    return {
        "trial_id": one.id,
        **{key: getattr(one, key) for key in same},
        **{key: getattr(rate, key) if rate else None for key in of_rate},
        "rate_per_device_rps": None if held is None else held / serving.devices,
        **{key: getattr(serving, key) for key in _SERVING},
        "serving_digest": serving.digest,
        "serving": serving.model_dump(mode="json"),
    }


def _probes(trial: Trial) -> Iterator[dict[str, Any]]:
    for probe in trial.rate.probes if trial.rate else ():
        seen = probe.measurement
        yield {
            "trial_id": trial.id,
            **{key: getattr(probe, key) for key in ("number", "phase", "rate_rps", "concurrency")},
            **{key: getattr(probe, key) for key in ("verdict", "reason")},
            **{key: getattr(seen, key) for key in ("requests", "failed", "duration_s")},
            **{key: getattr(seen, key) for key in ("achieved_rps", "goodput_rps", "mean_e2e_ms")},
            "output_tokens_per_s": seen.output_tokens_per_s,
            **{f"{name}_p{p}_ms": _quantile(seen, name, p) for name, p in _PERCENTILES},
            "quantiles": [quantile.model_dump(mode="json") for quantile in seen.quantiles],
        }


def _quantile(seen: Measurement, metric: str, percentile: int) -> float | None:
    found = seen.quantile(metric, float(percentile))
    return found.value_ms if found else None


def _certificates(records: dict[str, StageRecord]) -> list[dict[str, Any]]:
    """One row, or none: no bundle, or its certificate is gone or cannot be read."""
    publish = records.get("publish")
    if not isinstance(publish, PublishRecord) or not (
        publish.bundle and publish.certificate_digest
    ):
        return []
    try:
        text = (Path(publish.bundle) / "certificate.json").read_bytes()
        one = Certificate.model_validate_json(text)
    except (OSError, ValueError):
        return []
    same = (
        *("status", "outcome", "rate_rps", "rate_low_rps", "rate_high_rps", "recipe", "sku"),
        *("engine", "engine_version", "model_name", "model_digest", "reason"),
    )
    return [
        {
            **{key: getattr(one, key) for key in same},
            "rate_per_device_rps": one.rate_per_device_rps,
            "created_at": datetime.fromisoformat(one.created).astimezone(UTC),
            "quality": one.quality.verdict if one.quality else None,
            "certificate_digest": publish.certificate_digest,
            "bundle": publish.bundle,
        }
    ]


def _plain(value: Any) -> Any:
    """What every database takes: no NaN, no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\x00", "�").encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def listed(row: Any) -> dict[str, Any]:
    """A row of ``archive_jobs`` as ``jobs.list_jobs`` has it."""
    created = row.created_at if row.created_at.tzinfo else row.created_at.replace(tzinfo=UTC)
    broken = row.state == "damaged"
    return {
        "id": row.job_id,
        "state": row.state,
        "created": iso(created.timestamp()),
        "flow": row.flow,
        "model": None if broken else f"{row.model_name}:{row.model_version}",
        "verdict": row.message if broken else row.verdict,
        "simulated": row.simulated,
        "team": row.team,
    }
