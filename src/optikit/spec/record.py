"""What stages hand to each other and what the archive keeps: typed, frozen, JSON both ways."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.serving import ServingConfig
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload

__all__ = [
    "ArtifactRef",
    "BenchmarkRecord",
    "Candidate",
    "Certificate",
    "CompressRecord",
    "EvaluateRecord",
    "FetchRecord",
    "ItemScores",
    "Measurement",
    "Probe",
    "PublishRecord",
    "QualityVerdict",
    "Quantile",
    "RateResult",
    "StageRecord",
    "TaskScore",
    "Trial",
    "TuneRecord",
    "Variant",
    "Verdict",
]

Verdict = Literal["pass", "fail", "inconclusive", "void"]
"""``void``: the probe says nothing about the server (client lag, broken requests)."""
Variant = Literal["baseline", "compressed"]


class ArtifactRef(Spec):
    """Content by digest, and where it lies now."""

    kind: Literal["model", "dataset"]
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    path: str
    size_bytes: int = Field(ge=0)


class Quantile(Spec):
    """A percentile of a latency with its order-statistics confidence interval, in ms."""

    metric: Literal["e2e", "ttft", "tpot", "lag"]
    percentile: float
    value_ms: float
    low_ms: float | None = None
    """None where the sample is too small for a bound on that side."""
    high_ms: float | None = None


class Measurement(Spec):
    """One probe's requests in numbers. Latencies are of completed requests."""

    requests: int
    completed: int
    failed: int
    offered_rps: float | None
    """None for a closed loop."""
    achieved_rps: float
    """Completions per second between the first arrival and the last completion."""
    output_tokens_per_s: float
    total_tokens_per_s: float
    duration_s: float
    quantiles: tuple[Quantile, ...]
    mean_e2e_ms: float
    slope: float | None = None
    """beta of completion time on arrival time (None: too few requests)."""
    slope_low: float | None = None
    slope_high: float | None = None
    error_sample: str | None = None
    """The first failed request's error."""

    def quantile(self, metric: str, percentile: float) -> Quantile | None:
        """The stored quantile, None if it was not asked for."""
        for item in self.quantiles:
            if item.metric == metric and item.percentile == percentile:
                return item
        return None


class Probe(Spec):
    """One measurement of a rate search with its verdict."""

    number: int
    phase: Literal["warmup", "closed", "open"]
    concurrency: int | None = None
    rate_rps: float | None = None
    verdict: Verdict
    reason: str
    measurement: Measurement
    raw: str | None = None
    """Name of the raw per-request file beside the trial."""


class RateResult(Spec):
    """What a rate search found."""

    outcome: Literal["pass", "infeasible", "inconclusive"]
    rate_rps: float | None
    """Highest offered rate that passed."""
    rate_low_rps: float | None = None
    rate_high_rps: float | None = None
    """Lowest rate that failed: the sustainable rate lies between the two."""
    preliminary: bool
    """True where the probes are too small for a certificate that holds."""
    reason: str
    method: str
    requests: int
    """Requests seen over all probes."""
    requests_at_rate: int = 0
    """Requests of the probe that passed at ``rate_rps``."""
    probes: tuple[Probe, ...] = ()


class Trial(Spec):
    """One serving config of one model, measured on a fresh server, or the record of why not."""

    id: str
    number: int
    purpose: Literal["benchmark", "tune"]
    variant: Variant
    state: Literal["complete", "failed"]
    model_digest: str
    serving: ServingConfig
    rate: RateResult | None = None
    fitness: float | None = None
    error: str | None = None
    attempts: int = 1
    startup_s: float = 0.0
    measuring_s: float = 0.0
    teardown_s: float = 0.0

    @property
    def rate_rps(self) -> float | None:
        """The rate that holds the SLO, None where there is none."""
        return self.rate.rate_rps if self.rate and self.rate.outcome == "pass" else None


class Candidate(Spec):
    """A compressed model."""

    id: str
    recipe: str
    model: ArtifactRef
    wall_s: float
    peak_memory_bytes: int
    samples: int
    sample_digest: str | None
    sample_seed: int


class ItemScores(Spec):
    """One model's score on each item of one task, in the task's order."""

    task: str
    metric: str
    scores: tuple[float, ...]


class TaskScore(Spec):
    """Paired scores of one task: the same items for both models, in the same order."""

    task: str
    metric: str
    items: int
    baseline: float
    candidate: float
    baseline_stderr: float
    candidate_stderr: float
    recovery: float | None
    """candidate / baseline; None where the baseline scores nothing."""
    recovery_stderr: float | None


class QualityVerdict(Spec):
    """The gate's answer for one candidate."""

    candidate_id: str
    verdict: Literal["kept", "lost", "cannot tell", "unsupported"]
    margin: float
    reason: str
    tasks: tuple[TaskScore, ...]


class _Record(Spec):
    inputs_digest: str
    """Digest of all that the stage was given; a rerun with the same digest is skipped."""
    seconds: float = 0.0
    attempts: int = 1


class FetchRecord(_Record):
    """Model and dataset by content."""

    stage: Literal["fetch"] = "fetch"
    model: ArtifactRef
    dataset: ArtifactRef | None
    licence: str | None = None


class CompressRecord(_Record):
    """Candidates that were made."""

    stage: Literal["compress"] = "compress"
    candidates: tuple[Candidate, ...]
    rows_read: int = 0
    rows_skipped: dict[str, int] = Field(default_factory=dict)
    """Rows of the dataset left out, by reason."""


class EvaluateRecord(_Record):
    """Quality against the baseline, and who goes on."""

    stage: Literal["evaluate"] = "evaluate"
    verdicts: tuple[QualityVerdict, ...]
    chosen: str | None
    """Id of the candidate that goes on; None: the uncompressed model."""


class BenchmarkRecord(_Record):
    """Default configuration of each variant measured."""

    stage: Literal["benchmark"] = "benchmark"
    trials: tuple[Trial, ...]


class TuneRecord(_Record):
    """The search over serving configs."""

    stage: Literal["tune"] = "tune"
    trials: tuple[Trial, ...]
    winner: str | None
    """Id of the best trial of the shipped variant (a benchmark trial if nothing beat it)."""
    stopped_early: str | None = None


class PublishRecord(_Record):
    """The bundle and where it was registered."""

    stage: Literal["publish"] = "publish"
    bundle: str | None
    """Folder of the bundle; None where nothing can be deployed."""
    model_name: str
    model_version: str | None
    """Version in the registry; None: not registered (the SLO was not shown to hold)."""
    trial: str | None
    certificate_digest: str | None


StageRecord = Annotated[
    FetchRecord | CompressRecord | EvaluateRecord | BenchmarkRecord | TuneRecord | PublishRecord,
    Field(discriminator="stage"),
]


class Certificate(Spec):
    """What was measured, on what, so that anyone can measure it again."""

    schema_version: Literal[1] = 1
    status: Literal["preliminary", "certified", "negative"]
    job_id: str
    created: str
    model_name: str
    model_digest: str
    recipe: str
    engine: str
    engine_version: str
    serving: ServingConfig
    command: tuple[str, ...]
    """The server's full argument list."""
    hardware: dict[str, str]
    sku: str
    workload: Workload
    slo: Slo
    method: str
    outcome: Literal["pass", "infeasible", "inconclusive"]
    rate_rps: float | None
    rate_per_device_rps: float | None
    rate_low_rps: float | None
    rate_high_rps: float | None
    requests: int
    seeds: tuple[int, ...]
    measurement: Measurement | None
    """The probe at the shipped rate."""
    quality: QualityVerdict | None
    reason: str
