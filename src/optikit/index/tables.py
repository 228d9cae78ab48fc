"""The tables of the index; docs/reference/archive-index.md shows them, and a test compares the two.

Every name begins with ``archive_``: Optuna's studies and the service's queue, which have tables of
their own, may lie in the same database.
"""

from __future__ import annotations

from typing import Any

from optikit.adapters.sql import facts_table, json_column, sa

__all__ = ["ALL", "FACTS", "HOMES", "JOBS", "OF_A_JOB", "SCHEMA"]

SCHEMA = 1
"""Version of the tables below; a newer one is refused."""

ALL = sa.MetaData()
FACTS = facts_table(ALL, "archive_facts")
_MOMENT = sa.DateTime(timezone=True)
_JSON = json_column()


def _text(name: str, comment: str, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, comment=comment, **more)


def _float(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Float, comment=comment)


def _int(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, comment=comment)


def _bool(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, comment=comment)


def _moment(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, _MOMENT, comment=comment)


def _json(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, _JSON, comment=comment)


HOMES = sa.Table(
    "archive_homes",
    ALL,
    _text("home_id", "in the home's file `home.id`", primary_key=True),
    _text("host", "machine that read it last"),
    _text("path", "its folder there"),
    _moment("indexed_at", "when all of it was last read"),
    comment="homes that were read",
)

JOBS = sa.Table(
    "archive_jobs",
    ALL,
    sa.Column(
        "home_id",
        sa.Text,
        sa.ForeignKey(HOMES.c.home_id, ondelete="CASCADE"),
        primary_key=True,
        comment="of the home that the job is in",
    ),
    _text("job_id", "", primary_key=True),
    _text("state", "as `optikit list` has it; `damaged`: its archive cannot be read"),
    _text("verdict", "how it ended, in short"),
    _int("exit_code", "of its driver; null: it has not ended"),
    _text("message", "how it ended; of a damaged archive, what is wrong with it"),
    sa.Column("created_at", _MOMENT, comment="when it was submitted", index=True),
    _moment("ended_at", "when it ended; null: it has not"),
    _text("team", "of a service; null: submitted without one"),
    _text("flow", ""),
    _text("model_name", "", index=True),
    _text("model_version", ""),
    _text("recipe", "that went on; those that are tried while none has"),
    _text("sku", ""),
    _text("engine", ""),
    _bool("simulated", "on paper: all figures are a model's"),
    _text("slo", "its bounds, between semicolons"),
    _json("workload", "as the job spec has it"),
    _float(
        "baseline_per_device_rps", "best rate a device that held: uncompressed, default serving"
    ),
    _float("quantized_per_device_rps", "the same: compressed, default serving"),
    _float("tuned_per_device_rps", "the same: uncompressed, tuned"),
    _float("both_per_device_rps", "the same: compressed and tuned"),
    _json("corners", "these four with gains, intervals and reasons"),
    _int("trials", "that ended"),
    _float("device_hours", "of all trials"),
    _text("winner", "trial that tuning chose"),
    _text("bundle", "folder of what ships; null: nothing does"),
    _text("registered", "`NAME:VERSION` in the registry"),
    _text("optikit_version", "that it was submitted with"),
    _int("damaged_lines", "of its journal, which were skipped"),
    _moment("removed_at", "when it was found to be gone from the home; null: it is there"),
    _moment("indexed_at", "when it was last read"),
    _text("seen", "of its journal: sizes and times, by which a change is found"),
    comment="a row a job",
)


def _of_a_job(name: str, comment: str, *columns: sa.Column[Any]) -> sa.Table:
    """A table whose rows come and go with a job's."""
    return sa.Table(
        name,
        ALL,
        _text("home_id", "", primary_key=True),
        _text("job_id", "", primary_key=True),
        *columns,
        sa.ForeignKeyConstraint(
            ["home_id", "job_id"], [JOBS.c.home_id, JOBS.c.job_id], ondelete="CASCADE"
        ),
        comment=comment,
    )


_STAGES = _of_a_job(
    "archive_stages",
    "a row a stage of the job's flow; the last word on each",
    _text("stage", "", primary_key=True),
    _int("position", "in the flow, from 0"),
    _text("state", "waiting, running, done, skipped, failed, cancelled"),
    _float("seconds", "without its wait in a queue"),
)
_CANDIDATES = _of_a_job(
    "archive_candidates",
    "a row a compressed model that was made, or could not be",
    _text("candidate_id", "", primary_key=True),
    _text("recipe", ""),
    _text("error", "why there is no model; null: there is"),
    _bool("goes_on", "it was chosen"),
    _text("quality", "kept, lost, cannot tell, unsupported, failed; null: not evaluated"),
    _text("quality_reason", ""),
    _float("recovery", "lowest of its tasks: score over the baseline's"),
    _int("size_bytes", "of the model"),
    _float("wall_s", "that making it took"),
    _int("peak_memory_bytes", "of the worker that made it"),
    _text("sampling", "how calibration texts were drawn"),
    _int("samples", ""),
    _json("tasks", "every task's verdict and scores"),
)
_TRIALS = _of_a_job(
    "archive_trials",
    "a row a serving configuration that was measured, or why not",
    _text("trial_id", "", primary_key=True),
    _int("number", ""),
    _text("purpose", "benchmark, tune, finalist"),
    _text("variant", "baseline, compressed"),
    _text("state", "complete, pruned, failed"),
    _text("outcome", "of its rate search: pass, infeasible, inconclusive; null: none"),
    _float("rate_rps", "that held the SLO; null: none did"),
    _float("rate_per_device_rps", "the same over its devices"),
    _float("rate_low_rps", "95 % interval of the sustainable rate"),
    _float("rate_high_rps", ""),
    _bool("preliminary", "too few requests for a certificate"),
    _float("saturation_rps", "of a closed loop that keeps every seat taken"),
    _float("predicted_rps", "what was expected before"),
    _float("fitness", ""),
    _text("error", ""),
    _text("cause", "of a failure, in one or two words"),
    _int("attempts", ""),
    _int("requests", "over all its probes"),
    _float("startup_s", "of its server"),
    _float("measuring_s", ""),
    _float("teardown_s", ""),
    _float("device_seconds", "these three, times its devices"),
    _int("devices", "that its server held"),
    _int("tensor_parallel", ""),
    _int("data_parallel", ""),
    _int("max_num_seqs", ""),
    _int("max_num_batched_tokens", ""),
    _int("max_model_len", ""),
    _text("dtype", ""),
    _text("kv_cache_dtype", ""),
    _bool("enable_prefix_caching", ""),
    _text("serving_digest", "equal for equal configurations"),
    _json("serving", "the whole configuration"),
    _text("model_digest", "of the checkpoint that was served"),
)
_PROBES = _of_a_job(
    "archive_probes",
    "a row a measurement of a trial's rate search",
    _text("trial_id", "", primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("phase", "warmup, closed, scan, open, certify"),
    _float("rate_rps", "offered; null: a closed loop"),
    _int("concurrency", "of a closed loop"),
    _text("verdict", "pass, fail, inconclusive, void"),
    _text("reason", ""),
    _int("requests", ""),
    _int("failed", "of them"),
    _float("duration_s", ""),
    _float("achieved_rps", "completions a second"),
    _float("goodput_rps", "requests a second within every limit"),
    _float("output_tokens_per_s", ""),
    _float("mean_e2e_ms", ""),
    _float("e2e_p50_ms", "percentiles; null: not asked for"),
    _float("e2e_p95_ms", ""),
    _float("e2e_p99_ms", ""),
    _float("ttft_p50_ms", ""),
    _float("ttft_p95_ms", ""),
    _float("tpot_p50_ms", ""),
    _float("tpot_p95_ms", ""),
    _json("quantiles", "every percentile with its interval"),
)
_CERTIFICATES = _of_a_job(
    "archive_certificates",
    "a row a job whose bundle has a certificate",
    _text("status", "preliminary, certified, negative"),
    _text("outcome", "pass, infeasible, inconclusive"),
    _moment("created_at", ""),
    _float("rate_rps", "that ships"),
    _float("rate_per_device_rps", ""),
    _float("rate_low_rps", "95 % interval of the sustainable rate"),
    _float("rate_high_rps", ""),
    _text("recipe", ""),
    _text("sku", ""),
    _text("engine", ""),
    _text("engine_version", ""),
    _text("model_name", ""),
    _text("model_digest", ""),
    _text("quality", "kept, lost, cannot tell; null: not compressed"),
    _text("reason", ""),
    _text("certificate_digest", "of the file"),
    _text("bundle", "its folder"),
)

OF_A_JOB = (_STAGES, _CANDIDATES, _TRIALS, _PROBES, _CERTIFICATES)
"""What is replaced whole when a job is read again."""
