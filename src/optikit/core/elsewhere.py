"""The plan of a job that measures somebody else's server: nothing to fit, to start or to hold."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from optikit.core.trace import trace_warnings
from optikit.errors import SpecError
from optikit.spec.endpoint import Endpoint
from optikit.spec.flow import Flow
from optikit.spec.job import EngineChoice, OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.plan import Plan
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import SkuFacts
from optikit.spec.space import ResolvedSpace
from optikit.spec.workload import Trace

__all__ = ["UNKNOWN_VOCAB", "must_be_started", "plan_elsewhere", "sends_to", "unseen_shape"]

UNKNOWN_VOCAB = 32_000
"""Where nobody says better: models of today have at least this many token ids."""
_STAGES = ("fetch", "benchmark")
_KEYS = (
    *("url", "model", "key", "allow_http", "api", "prompts", "vocab", "enforce_length"),
    "max_num_seqs",
)
_LOOK_S = 5.0
_RECORDS_BYTES = 200_000_000


def must_be_started(engine: EngineChoice) -> None:
    """Raise for keys that only a server of somebody else's has.

    Raises:
        SpecError: the engine starts its servers itself.
    """
    fields = EngineChoice.model_fields
    for key in _KEYS:
        if getattr(engine, key) != fields[key].default:
            raise SpecError(
                f"engine.{key}: {engine.name} starts servers of its own; the key is for engine: "
                "openai, a server that somebody else runs. Leave it out, or name that engine"
            )


def sends_to(job: OptimizationJob) -> Endpoint:
    """Where the requests go and how they are put; without the key.

    Raises:
        SpecError: no address, one that is none, or keys that exclude each other.
    """
    asked = job.engine
    if asked.url is None:
        raise SpecError(
            "engine.url: the engine openai measures a server that somebody else runs, and no "
            "address was given; write url: https://HOST"
        )
    prompts = asked.prompts or ("text" if asked.api == "chat" else "tokens")
    return Endpoint.parse(
        {
            "base_url": asked.url,
            "model": asked.model or job.model.name,
            "vocab": (asked.vocab or UNKNOWN_VOCAB) if prompts == "tokens" else 0,
            "api": asked.api,
            "prompts": prompts,
            "enforce_length": asked.enforce_length,
        },
        "engine",
    )


def unseen_shape(job: OptimizationJob, trace: Trace | None) -> ModelShape:
    """What stands for a model that nobody here has seen; its vocabulary alone is used."""
    work = job.workload.with_lengths_of(trace) if trace else job.workload
    return ModelShape(
        architecture="unknown",
        layers=1,
        hidden=1,
        heads=1,
        kv_heads=1,
        head_dim=1,
        intermediate=1,
        vocab=job.engine.vocab or UNKNOWN_VOCAB,
        max_context=max(2, work.total_tokens),
        source="nowhere: the model was not seen",
    )


def plan_elsewhere(
    job: OptimizationJob, flow: Flow, shape: ModelShape, sku: SkuFacts, trace: Trace | None
) -> Plan:
    """Resolve it.

    Args:
        shape: of ``model.uri`` where the job names one, else :func:`unseen_shape`.

    Raises:
        SpecError: a flow that would change what is served, or keys that a server of somebody
            else's does not have.
    """
    target = sends_to(job)
    if flow.stages != _STAGES:
        more = [stage for stage in flow.stages if stage not in _STAGES]
        raise SpecError(
            f"flow: {flow.name} would {' and '.join(more) or 'only fetch'}, and {target.base_url} "
            "is a server that somebody else runs: it can be measured, not changed. Choose flow: "
            "benchmark, or an engine that starts its own servers (vllm, sglang)"
        )
    for key, asked in (("port", job.engine.port), ("flags", job.engine.flags)):
        if asked:
            raise SpecError(
                f"engine.{key}: {asked!r:.80} cannot be given to a server that somebody else "
                "started; leave it out"
            )
    if job.flow_params.ablation:
        raise SpecError(
            "flow_params.ablation: one server as it is has no four corners; leave it out"
        )
    work = job.workload.with_lengths_of(trace) if trace else job.workload
    vocab = job.engine.vocab or shape.vocab
    serving = ServingConfig(
        max_num_seqs=job.engine.max_num_seqs or 1, max_model_len=max(2, work.total_tokens)
    )
    search_s = min(job.method.max_search_s, job.budget.wall_time_s)
    space = ResolvedSpace(dimensions=(), size=1)
    return Plan(
        recipe=None,
        calibration_samples=0,
        tensor_parallel=(1,),
        serving=serving,
        space=space,
        trials=0,
        weight_bytes=0,
        job=job,
        flow=flow,
        shape=shape.model_copy(update={"vocab": vocab}),
        sku=sku,
        options=(),
        left_out={},
        baseline_tensor_parallel=(1,),
        baseline_serving=serving,
        baseline_space=None,
        baseline_weight_bytes=0,
        disk_bytes=_RECORDS_BYTES,
        estimate_s=_LOOK_S + search_s,
        stage_estimates_s={"fetch": _LOOK_S, "benchmark": search_s},
        gpu_hours_bound=job.budget.gpu_hours or job.budget.wall_time_s / 3600.0,
        warnings=tuple(_warnings(job, target, trace)),
        elsewhere=True,
        trace=trace,
    )


def _warnings(job: OptimizationJob, target: Endpoint, trace: Trace | None) -> list[str]:
    """Raises SpecError where requests would cross a network in the clear and nobody said so."""
    found = [
        f"{target.base_url} is somebody else's server: its arguments and its machine are not "
        "known, the network to it is measured along, and others may load it meanwhile"
    ]
    where = urlsplit(target.base_url)
    if where.scheme == "http" and not _here(where.hostname or ""):
        if not job.engine.allow_http:
            raise SpecError(
                f"engine.url: {target.base_url} would be sent requests"
                f"{' and the key' if job.engine.key else ''} unencrypted over the network; write "
                "https://, or engine.allow_http: true where you trust the way"
            )
        if job.engine.key is not None:
            found.append(f"the key goes to {where.hostname} unencrypted; use https where you can")
    if target.prompts == "tokens" and job.engine.vocab is None and job.model.uri is None:
        found.append(
            f"the vocabulary's size is not known: prompts are token ids below {UNKNOWN_VOCAB}; "
            "engine.vocab or model.uri (a folder with its config.json) says better, "
            "engine.prompts: text sends words"
        )
    if job.dataset is not None:
        found.append(f"dataset: {job.dataset.path} is not read: nothing is compressed")
    if trace is not None:
        found += trace_warnings(trace, job.method.requests_per_probe or 500)
    return found


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
