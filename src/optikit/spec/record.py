"""What stages hand to each other and what the archive keeps: typed, frozen, JSON both ways."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.candidate import ArtifactRef, Candidate, DatasetFacts
from optikit.spec.engine_metrics import EngineMetrics
from optikit.spec.job import MethodChoice
from optikit.spec.quality import QualityVerdict
from optikit.spec.serving import ServingConfig
from optikit.spec.slo import Slo
from optikit.spec.versions import CERTIFICATE
from optikit.spec.workload import Workload

__all__ = [
    "BenchmarkRecord",
    "BoundEvidence",
    "Certificate",
    "CompressRecord",
    "Contender",
    "EvaluateRecord",
    "FetchRecord",
    "Measurement",
    "Phase",
    "Probe",
    "ProbeLine",
    "PublishRecord",
    "Quantile",
    "RateResult",
    "SentAs",
    "StageRecord",
    "Trial",
    "TuneRecord",
    "Usage",
    "Variant",
    "Verdict",
]

Verdict = Literal["pass", "fail", "inconclusive", "void"]
"""``void``: the probe says nothing about the server (client lag, broken requests)."""
Variant = Literal["baseline", "compressed"]
Phase = Literal["warmup", "closed", "scan", "open", "certify"]
"""``closed``: concurrency 1; ``scan``: closed loops at growing concurrency; ``open``: offered rates
on the way; ``certify``: fresh seeds at the rate that ships."""


class Quantile(Spec):
    """A percentile of a latency with its 95 % confidence interval, in ms."""

    metric: Literal["e2e", "ttft", "tpot", "itl", "lag"]
    percentile: float
    value_ms: float
    low_ms: float | None = None
    """None where the sample is too small for a bound on that side."""
    high_ms: float | None = None


class BoundEvidence(Spec):
    """One bound of the SLO over one probe: how large a share is over its limit."""

    bound: str
    allowed: float
    """Share that may be over the limit."""
    counted: int
    """Requests, for ``itl`` gaps."""
    over: int
    share: float
    """As seen, or adjusted to the law of the arrivals where the method does that."""
    low: float
    """95 % interval of the share in the long run at this rate."""
    high: float
    effective: float
    """Independent observations that the interval counts on."""
    adjusted: bool = False


class Measurement(Spec):
    """One probe's measured requests in numbers. Latencies are of completed requests."""

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
    bounds: tuple[BoundEvidence, ...] = ()
    goodput_rps: float | None = None
    """Requests per second that kept every limit of the SLO; None without an SLO."""
    mean_e2e_ms: float
    mean_in_flight: float = 0.0
    """Requests sent and not ended, averaged over the measured span."""
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
    phase: Phase
    concurrency: int | None = None
    rate_rps: float | None = None
    seed: int | None = None
    verdict: Verdict
    reason: str
    measurement: Measurement
    raw: str | None = None
    """Name of the raw per-request file beside the trial."""


class ProbeLine(Spec):
    """A probe in one line: what was asked and what was found."""

    number: int
    phase: Phase
    rate_rps: float | None
    concurrency: int | None
    requests: int
    verdict: Verdict
    reason: str


class RateResult(Spec):
    """What a rate search found."""

    outcome: Literal["pass", "infeasible", "inconclusive"]
    rate_rps: float | None
    """The rate that holds: the highest offered rate that passed, or that was certified."""
    rate_low_rps: float | None = None
    rate_high_rps: float | None = None
    """95 % interval of the sustainable rate (method doubling: highest pass, lowest fail)."""
    estimate_rps: float | None = None
    """Best estimate of the sustainable rate itself; ``rate_rps`` keeps a margin below it."""
    saturation_rps: float | None = None
    """Throughput of a closed loop that keeps every seat taken; None: not measured."""
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
    purpose: Literal["benchmark", "tune", "finalist"]
    variant: Variant
    state: Literal["complete", "pruned", "failed"]
    """``pruned``: ended early, because it cannot beat the best trial before it."""
    model_digest: str
    serving: ServingConfig
    rate: RateResult | None = None
    fitness: float | None = None
    """None: failed, or pruned."""
    of: str | None = None
    """Of a finalist: the trial whose configuration is measured again."""
    must_beat_rps: float | None = None
    """The rate that the trial had to hold, or be pruned."""
    predicted_rps: float | None = None
    """What was expected before it was measured; a model's figure."""
    error: str | None = None
    cause: str | None = None
    """Of a failure: out of memory, illegal flag, no kernel, timeout, crash."""
    engine_metrics: EngineMetrics | None = None
    """None: the engine tells nothing of itself."""
    attempts: int = 1
    server: dict[str, str] = Field(default_factory=dict)
    """What somebody else's server told of itself; empty where the job started it."""
    startup_s: float = 0.0
    measuring_s: float = 0.0
    teardown_s: float = 0.0

    @property
    def rate_rps(self) -> float | None:
        """The rate that holds the SLO, None where there is none."""
        return self.rate.rate_rps if self.rate and self.rate.outcome == "pass" else None

    @property
    def device_seconds(self) -> float:
        """Start-up, measuring and teardown, times the devices."""
        return (self.startup_s + self.measuring_s + self.teardown_s) * self.serving.devices


class Contender(Spec):
    """One configuration in the last comparison, measured several times on fresh servers."""

    of: str
    """The trial that proposed it."""
    variant: Variant
    default: bool
    """The configuration that the variant is served with before tuning."""
    runs: tuple[str, ...]
    """Ids of its trials in this comparison."""
    rates_per_device: tuple[float | None, ...]
    """Of each run; None where no rate held."""


class Usage(Spec):
    """How a runner used the devices it was given; shares of devices x wall time."""

    devices: int
    wall_s: float
    trials: int
    reserved: float
    """Share that some trial held."""
    reserved_until_last_launch: float
    """The same, up to the moment the last trial began."""
    measuring: float
    """Share on which a probe ran."""
    overhead_s: float
    """Wall time a trial beyond its own start-up, measuring and teardown: median."""


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
    model_address: str | None = None
    """Where the model came from, what moves in it resolved; None: a folder here."""
    dataset_address: str | None = None


class CompressRecord(_Record):
    """Candidates that were made."""

    stage: Literal["compress"] = "compress"
    candidates: tuple[Candidate, ...]
    dataset: DatasetFacts | None = None
    """None: no calibration text was read."""


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
    certificate_digest: str | None = None
    """Of the job's own ``certificate.json``: a measured endpoint has no bundle to carry it."""


class TuneRecord(_Record):
    """The search over serving configs."""

    stage: Literal["tune"] = "tune"
    trials: tuple[Trial, ...]
    winner: str | None
    """Id of the best trial of the shipped variant (a benchmark trial if nothing beat it)."""
    stopped_early: str | None = None
    contenders: tuple[Contender, ...] = ()
    """The last comparison; empty where there was none."""
    usage: dict[str, Usage] = Field(default_factory=dict)
    """By variant, and of the last comparison (``finalists``); empty for trials in virtual time."""
    avoided: int = 0
    """Proposals that were never started: they would have failed as others did."""


class PublishRecord(_Record):
    """The bundle and where it was registered."""

    stage: Literal["publish"] = "publish"
    bundle: str | None
    """Folder of the bundle; None where nothing can be deployed."""
    address: str | None = None
    """Where else it was brought, pinned by the digest of its list of files."""
    model_name: str
    model_version: str | None
    """Version in the registry; None: not registered (the SLO was not shown to hold)."""
    trial: str | None
    certificate_digest: str | None


StageRecord = Annotated[
    FetchRecord | CompressRecord | EvaluateRecord | BenchmarkRecord | TuneRecord | PublishRecord,
    Field(discriminator="stage"),
]


class SentAs(Spec):
    """How the requests were put to the server; the same again at a verification."""

    api: Literal["completions", "chat"] = "completions"
    prompts: Literal["tokens", "text"] = "tokens"
    vocab: int = 0
    """Token ids were drawn from 0 to this; 0: text."""
    enforce_length: bool = True


class Certificate(Spec):
    """What was measured, on what, so that anyone can measure it again."""

    schema_version: Literal[2] = CERTIFICATE
    status: Literal["preliminary", "certified", "negative"]
    simulated: bool = False
    """True: no server was there; the figures are a model's."""
    source: Literal["job", "endpoint"] = "job"
    """``endpoint``: a server that somebody else runs; what it runs on is as it says itself."""
    job_id: str
    created: str
    optikit_version: str = ""
    model_name: str
    model_digest: str | None
    """None where the checkpoint was out of reach (``endpoint``). Simulated: of the bundle's
    ``simulated.json``, which describes the model."""
    recipe: str
    engine: str
    engine_version: str
    serving: ServingConfig | None
    command: tuple[str, ...]
    """The server's full argument list."""
    endpoint: str | None = None
    """Base URL of the server that was measured, where it was somebody else's."""
    server_says: dict[str, str] = Field(default_factory=dict)
    """What somebody else's server told of itself, and the way to it; its arguments are unknown."""
    hardware: dict[str, str]
    """Of the server; empty where it is somebody else's."""
    client: dict[str, str] = Field(default_factory=dict)
    """Machine that sent the requests, where it was not the server's."""
    sku: str | None
    sent_as: SentAs | None = None
    workload: Workload
    trace_digest: str | None = None
    slo: Slo
    method: MethodChoice
    outcome: Literal["pass", "infeasible", "inconclusive"]
    rate_rps: float | None
    rate_per_device_rps: float | None
    rate_low_rps: float | None
    rate_high_rps: float | None
    estimate_rps: float | None = None
    saturation_rps: float | None = None
    requests: int
    """Seen over all probes."""
    requests_at_rate: int = 0
    seeds: tuple[int, ...]
    """Of every probe, in order."""
    probes: tuple[ProbeLine, ...] = ()
    measurement: Measurement | None
    """The probe at the shipped rate."""
    client_lag: Quantile | None = None
    """p99 of how late the client sent, over that probe."""
    quality: QualityVerdict | None
    reason: str
    archive_digest: str | None = None
    """SHA-256 over the raw files of every probe, in order."""
