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
from optikit.spec.serving import Flag
from optikit.spec.sku import ResourceSKU
from optikit.spec.slo import Slo
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
    "QualityGate",
    "SearchSpace",
    "TunerChoice",
]

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][\w.+-]*$")]


def _name_alone(data: Any) -> Any:
    return {"name": data} if isinstance(data, str) else data


class ModelStorage(Spec):
    """A model of the local registry, or a folder by ``uri``."""

    name: Name
    version: Annotated[Name, BeforeValidator(str)] = "1"
    uri: str | None = None
    """``file:///path`` of a model folder; without it the registry is asked for name and version."""


class DatasetStorage(Spec):
    """Calibration text: a folder (or file) of JSONL, parquet or plain text."""

    path: str = Field(min_length=1)
    text_field: str | None = None
    """Field that holds the text; found by itself when None."""


class ComputeConfig(Spec):
    """What the job runs on."""

    sku: ResourceSKU

    @field_validator("sku", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ResourceSKU.__members__:
            raise ValueError(f"unknown SKU; {nearest(value, ResourceSKU.__members__)}")
        return value


class SearchSpace(Spec):
    """Values that tuning may choose; None means what the SKU and the workload allow."""

    tensor_parallel: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_num_seqs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_num_batched_tokens: tuple[int, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _positive(self) -> Self:
        for key in ("tensor_parallel", "max_num_seqs", "max_num_batched_tokens"):
            for value in getattr(self, key) or ():
                if value < 1:
                    raise ValueError(f"{key} holds {value}; every value must be at least 1")
        return self


class FlowParams(Spec):
    """Parameters of the flow."""

    recipe: Name = "int_w8a8"
    num_trials: int = Field(default=30, ge=1, le=10_000)
    """Tuning trials, the default configuration not counted."""
    ablation: bool = False
    """Also measure baseline, quantized only and tuned only (the four corners)."""
    calibration_samples: int | None = Field(default=None, ge=1)
    """None: the recipe's own default."""
    calibration_tokens: int = Field(default=512, ge=8)
    """Longest calibration sample; longer ones are cut."""
    calibration_seed: int = Field(default=0, ge=0)
    space: SearchSpace = SearchSpace()


class EngineChoice(Spec):
    """The serving engine and how it is started."""

    name: Name = "vllm"
    port: int | None = Field(default=None, ge=1024, le=65535)
    """None: a free port for each server."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    flags: dict[str, Flag] = Field(default_factory=dict)
    """Further engine flags for every server of the job, by their command-line name."""


class TunerChoice(Spec):
    """The sampler of the tune stage."""

    name: Name = "tpe"
    seed: int = Field(default=0, ge=0)
    slo_penalty_weight: float = Field(default=1.0, ge=0)
    """Lambda of fitness = rate / devices + lambda * slo_penalty."""


class MethodChoice(Spec):
    """How the sustainable rate is searched."""

    name: Name = "doubling"
    requests_per_probe: int = Field(default=300, ge=20)
    rate_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """The search ends when the bracket is narrower than this fraction of its lower end."""
    slope_tolerance: float = Field(default=0.05, gt=0, lt=1)
    """Largest slope above 1 of completions on arrivals that still counts as steady."""
    max_probes: int = Field(default=16, ge=2)
    max_search_s: float = Field(default=3600.0, gt=0)
    """Bound on one search, server start not counted."""
    warmup_requests: int = Field(default=8, ge=0)
    max_lag_ms: float = Field(default=50.0, gt=0)
    """A probe whose p99 send delay of the client exceeds this is void."""


class QualityGate(Spec):
    """What the compressed model must keep of the baseline."""

    margin: float = Field(default=0.01, gt=0, lt=1)
    """Largest loss allowed, relative to the baseline's score."""
    tasks: tuple[str, ...] = Field(default=("everyday_facts",), min_length=1)
    """Task names of lm-evaluation-harness, shipped ones, or paths of task YAML files."""
    limit: int | None = Field(default=None, ge=2)
    """Items a task; None: all."""
    on_cannot_tell: Literal["continue", "stop"] = "continue"


class Budget(Spec):
    """Bounds of the whole job."""

    wall_time_s: float = Field(default=86_400.0, gt=0)
    gpu_hours: float | None = Field(default=None, gt=0)
    """None: the SKU's devices for the whole wall time. A CPU SKU counts as one device."""


class OptimizationJob(Spec):
    """One job: flow x model x dataset x flow parameters x compute."""

    flow: Name = "quantize_and_tune"
    model: ModelStorage
    dataset: DatasetStorage | None = None
    flow_params: FlowParams = FlowParams()
    compute: ComputeConfig
    workload: Workload = Workload()
    slo: Slo = Slo()
    engine: Annotated[EngineChoice, BeforeValidator(_name_alone)] = EngineChoice()
    tuner: Annotated[TunerChoice, BeforeValidator(_name_alone)] = TunerChoice()
    method: Annotated[MethodChoice, BeforeValidator(_name_alone)] = MethodChoice()
    quality: QualityGate = QualityGate()
    fallback: Literal["baseline", "none"] = "none"
    """After a lost quality gate: go on with the uncompressed model, or end."""
    budget: Budget = Budget()

    @model_validator(mode="wrap")
    @classmethod
    def _one_wording(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Python and YAML users read the same errors."""
        try:
            return handler(data)
        except ValidationError as error:
            raise spec_error(cls, error) from None
