"""The job spec: what a team submits. Every key has a default that holds, except the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from optikit.errors import nearest
from optikit.spec.base import Spec, spec_error
from optikit.spec.candidate import Sampling
from optikit.spec.database import without_password
from optikit.spec.elsewhere import KeyRef
from optikit.spec.plain import must_be_plain
from optikit.spec.serving import Flag
from optikit.spec.sku import ResourceSKU
from optikit.spec.slo import Slo
from optikit.spec.space import SearchSpace
from optikit.spec.workload import Workload

__all__ = [
    "Budget",
    "ComputeConfig",
    "DatasetStorage",
    "EngineChoice",
    "FlowParams",
    "MethodChoice",
    "ModelStorage",
    "OptimizationJob",
    "PublishTo",
    "QualityGate",
    "StageSize",
    "TunerChoice",
]

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][\w.+-]*$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]


def _name_alone(data: Any) -> Any:
    return {"name": data} if isinstance(data, str) else data


def _one_or_several(data: Any) -> Any:
    return (data,) if isinstance(data, str) else data


class ModelStorage(Spec):
    """A model of the local registry, or a folder by ``uri``."""

    name: Name
    version: Annotated[Name, BeforeValidator(str, json_schema_input_type=Name | int | float)] = "1"
    uri: str | None = None
    """A model folder: ``file:///path``, ``s3://BUCKET/FOLDER``, ``hf://ORG/NAME@REVISION``, ...;
    without it the registry is asked for name and version."""
    trust_remote_code: bool = False
    """Run Python code that the model folder brings; refused unless the site allows it too."""


class DatasetStorage(Spec):
    """Calibration text: a folder (or file) of JSONL, parquet or plain text, or a hub's dataset."""

    path: str = Field(min_length=1)
    """A path, an address such as ``s3://BUCKET/FOLDER``, or ``hf://ORG/NAME`` (``@REVISION`` behind
    it), whose rows are read where the hub is reachable."""
    text_field: str | None = None
    """Field that holds the text or the chat; found by itself when None."""
    split: str = Field(default="train", min_length=1)
    """Of a hub's dataset."""


class StageSize(Spec):
    """What one stage holds and may start, beside the devices that it uses."""

    memory_gib: float | None = Field(default=None, gt=0)
    """Host memory that is held for it on its node, where a Ray cluster counts memory; None: none is
    asked for."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """Most workers at a time; None: as many as its devices allow."""


STAGES = ("fetch", "compress", "evaluate", "benchmark", "tune", "publish")


class ComputeConfig(Spec):
    """What the job runs on."""

    sku: ResourceSKU
    cpus_per_device: float | None = Field(default=None, gt=0)
    """CPU cores that are held with each device; None: the SKU's."""
    stages: dict[str, StageSize] = Field(default_factory=dict)
    """Sizes of single stages' pools."""
    prices: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Price of one device-hour by SKU, in a currency of your own; for ``objective: per_cost``."""

    @field_validator("stages")
    @classmethod
    def _stages(cls, value: dict[str, StageSize]) -> dict[str, StageSize]:
        for name in value:
            if name not in STAGES:
                raise ValueError(f"unknown stage {name!r}; {nearest(name, STAGES)}")
        return value

    @field_validator("sku", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ResourceSKU.__members__:
            raise ValueError(f"unknown SKU; {nearest(value, ResourceSKU.__members__)}")
        return value


class FlowParams(Spec):
    """Parameters of the flow."""

    recipe: Annotated[
        tuple[Name, ...],
        BeforeValidator(_one_or_several, json_schema_input_type=Name | Names),
        Field(min_length=1, max_length=16),
    ] = ("int_w8a8",)
    """One recipe, or several of which the best that keeps the quality goes on."""
    num_compression_trials: int = Field(default=1, ge=1, le=32)
    """Candidates of each recipe that calibrates, each on a sample of its own seed."""
    num_trials: int = Field(default=30, ge=1, le=10_000)
    """Tuning trials, the default configuration not counted."""
    ablation: bool = False
    """Also measure baseline, quantized only and tuned only (the four corners)."""
    calibration_samples: int | None = Field(default=None, ge=1)
    """None: the recipe's own default."""
    calibration_tokens: int = Field(default=512, ge=8)
    """Longest calibration sample; longer ones are cut."""
    calibration_seed: int = Field(default=0, ge=0)
    """Of the first candidate; the next ones count up from it."""
    sampling: Sampling = "uniform"
    """How calibration texts are drawn."""
    compression_memory_gib: float | None = Field(default=None, gt=0)
    """Most memory a compression may hold; what does not fit is read from disk layer by layer.
    None: no bound."""
    space: SearchSpace = SearchSpace()

    @field_validator("recipe")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} named twice; num_compression_trials makes several candidates "
                "of one recipe"
            )
        return value


class EngineChoice(Spec):
    """The serving engine and how it is started."""

    name: Name = "vllm"
    port: int | None = Field(default=None, ge=1024, le=65535)
    """None: a free port for each server."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    flags: dict[str, Flag] = Field(default_factory=dict)
    """Further engine flags for every server of the job, by their command-line name."""
    hold_devices: bool = False
    """On the simulated engine: occupy the SKU's devices as real servers would, to rehearse how jobs
    share a cluster."""
    url: str | None = Field(default=None, min_length=1, max_length=1024)
    """Of a server that somebody else runs (engine openai, as all keys below), with or without
    ``/v1``."""
    model: str | None = Field(default=None, min_length=1, max_length=256)
    """As that server knows it; None: ``model.name``."""
    key: KeyRef | None = None
    """Where the server's key lies; None: it asks for none."""
    allow_http: bool = False
    """Send requests to another machine unencrypted."""
    api: Literal["completions", "chat"] = "completions"
    prompts: Literal["tokens", "text"] | None = None
    """None: token ids, text for chat."""
    vocab: int | None = Field(default=None, ge=1)
    """Token ids are drawn below it; None: the vocabulary of ``model.uri``, else 32,000."""
    enforce_length: bool = True
    """Send ``min_tokens`` and ``ignore_eos``; False: answers may be shorter than asked."""
    max_num_seqs: int | None = Field(default=None, ge=1)
    """Seats of the server; None: not known."""


class TunerChoice(Spec):
    """The sampler of the tune stage."""

    name: Name = "gp_prior"
    seed: int = Field(default=0, ge=0)
    slo_penalty_weight: float = Field(default=1.0, ge=0)
    """Lambda of fitness = rate / devices + lambda * slo_penalty."""
    objective: Literal["per_gpu", "per_cost", "per_energy"] = "per_gpu"
    """What a rate is divided by: devices, money (``compute.prices``), or energy where the engine
    reports it."""
    racing: bool = True
    """End a trial as *pruned* once it cannot beat the best one per device."""
    finalists: int = Field(default=2, ge=0, le=8)
    """So many best configurations, and the default one, are measured again on fresh servers; 0:
    none, and every trial then certifies its own rate."""
    finalist_runs: int = Field(default=2, ge=1, le=20)
    """Measurements of each finalist, interleaved."""
    runner: Name = "packed"
    """Who starts the trials: ``packed`` on the stage's pool, or ``ray_tune``."""
    storage: str | None = None
    """Database of the sampler's studies (``postgresql://USER@HOST/NAME``); None: an SQLite file in
    the job's folder."""
    transfer: bool = True
    """Begin with what earlier jobs of the archive saw of models and workloads like this one."""

    @field_validator("storage")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return None if value is None else without_password(value)


class MethodChoice(Spec):
    """How the sustainable rate is searched."""

    name: Name = "adjusted"
    requests_per_probe: int | None = Field(default=None, ge=20)
    """None: what the method needs (``adjusted``: from latency, rate and percentile; ``doubling``:
    300)."""
    max_probes: int = Field(default=40, ge=2)
    """Warm-up, closed loops and repeats included."""
    max_search_s: float = Field(default=3600.0, gt=0)
    """Bound on one search, server start not counted."""
    warmup_requests: int = Field(default=8, ge=0)
    max_lag_ms: float = Field(default=50.0, gt=0)
    """A probe whose p99 send delay of the client exceeds this is void."""
    slope_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """Largest slope above 1 of completions on arrivals that still counts as steady."""
    rate_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """``doubling``: the search ends when the bracket is narrower than this fraction of its lower
    end."""
    risk: float = Field(default=0.025, gt=0, lt=0.5)
    """``adjusted``: probability that is allowed for a certified rate above the sustainable one."""


class QualityGate(Spec):
    """What the compressed model must keep of the baseline."""

    margin: float = Field(default=0.01, gt=0, lt=1)
    """Largest loss allowed, relative to the baseline's score."""
    tasks: tuple[str, ...] = Field(default=("everyday_facts",), min_length=1)
    """Task names of lm-evaluation-harness, shipped ones, or paths of task YAML files."""
    limit: int | None = Field(default=None, ge=2)
    """Items a task; None: all."""
    baseline_runs: int = Field(default=3, ge=1, le=20)
    """How often the baseline is scored, so that the engine's own run-to-run noise is known."""
    divergence_documents: int = Field(default=64, ge=0, le=10_000)
    """Held-out texts on which the next-token distributions are compared; 0: none."""
    divergence_tokens: int = Field(default=256, ge=8)
    """Longest of these texts; longer ones are cut."""
    divergence_text: Literal["dataset", "shipped"] = "dataset"
    """Rows of the dataset that no candidate calibrates on (where it has enough), or the texts that
    ship."""

    @field_validator("divergence_documents")
    @classmethod
    def _interval(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one document gives no interval; ask for 2 or more, or 0 for none")
        return value

    on_cannot_tell: Literal["continue", "stop"] = "continue"


class Budget(Spec):
    """Bounds of the whole job."""

    wall_time_s: float = Field(default=86_400.0, gt=0)
    gpu_hours: float | None = Field(default=None, gt=0)
    """None: the SKU's devices for the whole wall time. A CPU SKU counts as one device."""


class PublishTo(Spec):
    """Where a bundle goes besides the home's own ``bundles/``."""

    uri: str | None = Field(default=None, min_length=1)
    """An address such as ``s3://BUCKET/FOLDER``; the bundle goes below it, under the job's id."""


class OptimizationJob(Spec):
    """One job: flow x model x dataset x flow parameters x compute."""

    flow: Name = "quantize_and_tune"
    model: ModelStorage
    dataset: DatasetStorage | None = None
    flow_params: FlowParams = FlowParams()
    compute: ComputeConfig
    workload: Workload = Workload()
    slo: Slo = Slo()
    engine: Annotated[
        EngineChoice, BeforeValidator(_name_alone, json_schema_input_type=Name | EngineChoice)
    ] = EngineChoice()
    tuner: Annotated[
        TunerChoice, BeforeValidator(_name_alone, json_schema_input_type=Name | TunerChoice)
    ] = TunerChoice()
    method: Annotated[
        MethodChoice, BeforeValidator(_name_alone, json_schema_input_type=Name | MethodChoice)
    ] = MethodChoice()
    quality: QualityGate = QualityGate()
    fallback: Literal["baseline", "none"] = "none"
    """After a lost quality gate: go on with the uncompressed model, or end."""
    publish: PublishTo = PublishTo()
    budget: Budget = Budget()

    @model_validator(mode="wrap")
    @classmethod
    def _one_wording(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Python and YAML users read the same errors."""
        must_be_plain(data, cls.__name__)
        try:
            return handler(data)
        except ValidationError as error:
            raise spec_error(cls, error) from None
