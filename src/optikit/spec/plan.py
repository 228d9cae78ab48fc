"""The plan: a job with every name and number resolved. Data only; core/plan.py makes it."""

from __future__ import annotations

from optikit.spec.base import Spec
from optikit.spec.flow import Flow
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts

__all__ = ["Plan", "ResolvedSpace"]


class ResolvedSpace(Spec):
    """The values tuning chooses from, after the SKU, the shape and the memory had their say."""

    tensor_parallel: tuple[int, ...]
    max_num_seqs: tuple[int, ...]
    max_num_batched_tokens: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of configurations."""
        return len(self.tensor_parallel) * len(self.max_num_seqs) * len(self.max_num_batched_tokens)


class Plan(Spec):
    """What will run, on what, with which numbers."""

    job: OptimizationJob
    flow: Flow
    shape: ModelShape
    sku: SkuFacts
    recipe: RecipeFacts | None
    calibration_samples: int
    tensor_parallel: tuple[int, ...]
    """Degrees that fit at the recipe's dtype (at the model's own where nothing is compressed)."""
    baseline_tensor_parallel: tuple[int, ...]
    """Degrees that fit at the model's own dtype."""
    serving: ServingConfig
    """Default configuration of the shipped variant."""
    baseline_serving: ServingConfig | None
    """Default configuration of the uncompressed model; None where it does not fit."""
    space: ResolvedSpace
    baseline_space: ResolvedSpace | None
    trials: int
    weight_bytes: int
    baseline_weight_bytes: int
    disk_bytes: int
    """Free disk the job needs: fetched model, compressed model, bundle, records."""
    estimate_s: float
    """First estimate of the wall time; an order of size."""
    gpu_hours_bound: float
    warnings: tuple[str, ...] = ()
