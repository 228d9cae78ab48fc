"""The plan: a job with every name and number resolved. Data only; core/plan.py makes it."""

from __future__ import annotations

from pydantic import Field

from optikit.spec.base import Spec
from optikit.spec.flow import Flow
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.permit import ANYTHING, Permit
from optikit.spec.recipe import RecipeFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts
from optikit.spec.space import ResolvedSpace
from optikit.spec.workload import Trace, Workload

__all__ = ["Option", "Plan"]


class Option(Spec):
    """One recipe that the job tries (none where nothing is compressed), and what it leads to."""

    recipe: RecipeFacts | None
    calibration_samples: int
    tensor_parallel: tuple[int, ...]
    """Degrees that fit at the recipe's dtype (at the model's own where nothing is compressed)."""
    serving: ServingConfig
    """Default configuration of the shipped variant."""
    space: ResolvedSpace
    trials: int
    weight_bytes: int


class Plan(Option):
    """What will run, on what, with which numbers.

    The fields of :class:`Option` speak of the recipe that goes on: the first of ``options`` until
    a candidate was chosen.
    """

    job: OptimizationJob
    flow: Flow
    shape: ModelShape
    sku: SkuFacts
    options: tuple[Option, ...]
    left_out: dict[str, str]
    """Recipes that were asked for and cannot run, with the reason; nothing is spent on them."""
    baseline_tensor_parallel: tuple[int, ...]
    """Degrees that fit at the model's own dtype."""
    baseline_serving: ServingConfig | None
    """Default configuration of the uncompressed model; None where it does not fit."""
    baseline_space: ResolvedSpace | None
    baseline_weight_bytes: int
    disk_bytes: int
    """Free disk the job needs: fetched model, compressed model, bundle, records."""
    estimate_s: float
    """First estimate of the wall time; an order of size."""
    stage_estimates_s: dict[str, float] = Field(default_factory=dict)
    """The same by stage, start-ups included."""
    gpu_hours_bound: float
    warnings: tuple[str, ...] = ()
    simulated: bool = False
    """The engine is a model of a server: no weights, no devices, figures in virtual time."""
    elsewhere: bool = False
    """The server is somebody else's: it is measured, not started. ``shape`` and ``serving`` stand
    for what nobody here knows; of them the vocabulary alone is used."""
    permit: Permit = ANYTHING
    """What the job may read and run, as its site allowed it at submission."""
    trace: Trace | None = None
    """What ``job.workload.trace`` held when the plan was made."""

    def going_on(self, recipe: str) -> Plan:
        """This plan with the numbers of one of its recipes."""
        option = next(o for o in self.options if o.recipe is not None and o.recipe.name == recipe)
        return self.model_copy(update={name: getattr(option, name) for name in Option.model_fields})

    @property
    def holds_devices(self) -> bool:
        """Whether its stages occupy devices of the SKU: on paper, and elsewhere, they need none."""
        return not (self.simulated or self.elsewhere) or self.job.engine.hold_devices

    def seats(self, serving: ServingConfig) -> int | None:
        """Requests that a server may have in its batches; None: nobody knows."""
        if self.elsewhere:
            return self.job.engine.max_num_seqs
        return serving.max_num_seqs * serving.data_parallel

    @property
    def workload(self) -> Workload:
        """The job's workload with the range of lengths that the trace has, where it names one.

        ``job.workload`` stays as it was given: it goes into records and the certificate.
        """
        given = self.job.workload
        return given if self.trace is None else given.with_lengths_of(self.trace)
