"""What a program uses: Submitter takes a job spec, Job follows it, JobResult is what came out.

``benchmark_endpoint`` measures a server that somebody else runs, ``verify`` a certificate.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from optikit.adapters.hardware import cpu_dtype, describe_environment
from optikit.adapters.jsonlog import asked_for
from optikit.archive import JobArchive, checked_id, default_home, jobs, new_id, open_job
from optikit.core.addresses import is_address
from optikit.core.elsewhere import unseen_shape
from optikit.core.plan import make_plan
from optikit.core.redact import Redactor, secrets_in
from optikit.core.space import each_value
from optikit.elsewhere import Carried, pull_archive, push_archive
from optikit.engines import ENGINES
from optikit.engines.base import Engine
from optikit.errors import BadInput, Cancelled, EngineError, UnknownName, UnsafeInput
from optikit.evaluators import EVALUATORS
from optikit.exports import export_named
from optikit.exports.base import ExportSettings
from optikit.firstspec import FirstSpec, first_spec
from optikit.flows import FLOWS
from optikit.housekeeping import collect as collect_garbage
from optikit.housekeeping import look as look_for_garbage
from optikit.index.asking import ask_index, index_archives, list_indexed
from optikit.jobs import (
    Job,
    JobResult,
    OnEvent,
    default_pool,
    leftovers,
    list_jobs,
    start_driver,
)
from optikit.measuring.benchmark import benchmark_endpoint
from optikit.measuring.bundles import export_bundle
from optikit.measuring.certificates import find_certificate, read_certificate
from optikit.measuring.verify import verify
from optikit.pools import POOLS
from optikit.recipes import RECIPES
from optikit.registry import promote_model, published_model, published_models, rollback_model
from optikit.remote.job import RemoteJob, list_remote_jobs
from optikit.remote.send import check_portable
from optikit.reports.check import check_archive
from optikit.retelling import Retold, tell_again
from optikit.runner import EVALUATOR, TRACKER
from optikit.runners import RUNNERS
from optikit.spec.finding import ArchiveCheck
from optikit.spec.job import OptimizationJob
from optikit.spec.model import ModelShape
from optikit.spec.permit import Permit
from optikit.spec.plan import Plan
from optikit.spec.queue import Site
from optikit.spec.recipe import EngineFacts
from optikit.spec.workload import Trace
from optikit.specfile import read_mapping
from optikit.stages._room import lacking, needs_of_job
from optikit.stores.base import path_of
from optikit.stores.file import FileModelStore
from optikit.stores.inside import permit_for
from optikit.stores.remote import shape_elsewhere
from optikit.stores.shapes import shape_of_folder, shipped_names, shipped_shape
from optikit.stores.traces import read_trace
from optikit.traces import send_traces, traces_of
from optikit.trackers import TRACKERS
from optikit.tuners import TUNERS

__all__ = [
    "Carried",
    "FirstSpec",
    "Job",
    "JobResult",
    "RemoteJob",
    "Submitter",
    "ask_index",
    "benchmark_endpoint",
    "check_archives",
    "collect_garbage",
    "default_home",
    "export_bundle",
    "export_job",
    "find_certificate",
    "first_spec",
    "index_archives",
    "leftovers",
    "list_indexed",
    "list_jobs",
    "list_remote_jobs",
    "load_job",
    "look_for_garbage",
    "promote_model",
    "published_model",
    "published_models",
    "pull_archive",
    "push_archive",
    "read_certificate",
    "rollback_model",
    "send_traces",
    "sync_archives",
    "traces_of",
    "verify",
]


def load_job(path: Path) -> OptimizationJob:
    """A job spec from a YAML or JSON file.

    Raises:
        SpecError: no such file, not YAML, or keys and values that are wrong.
    """
    return OptimizationJob.parse(read_mapping(path, "job spec"), str(path))


def check_archives(names: Sequence[str] = (), home: Path | None = None) -> list[ArchiveCheck]:
    """Jobs' archives, every figure derived again.

    Args:
        names: ids, unique beginnings of them, or ``last``; none: every job.

    Raises:
        UnknownName: with the nearest ids.
    """
    root = home or default_home()
    found = [open_job(root, name) for name in names] if names else jobs(root)
    return [check_archive(archive) for archive in found]


def sync_archives(names: Sequence[str] = (), home: Path | None = None) -> Iterator[Retold]:
    """Tell the tracker of jobs again, from their archives: it was down, or there is another one.

    Args:
        names: as for ``check_archives``.

    Raises:
        UnknownName: with the nearest ids.
        OptikitError: the tracker does not answer; the jobs before were told.
    """
    root = home or default_home()
    tracker = TRACKERS.load(TRACKER)
    for archive in [open_job(root, name) for name in names] if names else jobs(root):
        yield tell_again(archive, tracker)


def export_job(
    name: str, job: OptimizationJob, settings: ExportSettings, job_id: str | None = None
) -> str:
    """A job as a file that another system runs; the file's text.

    Args:
        name: of the export: ``rayjob``.
        job_id: None: a new one.

    Raises:
        BadInput: no such export, no id, a path of this machine's folder, or the system cannot take
            this job.
        UnsafeInput: the spec holds a secret of the environment.
    """
    export = export_named(name)
    if export.of != "job":
        raise BadInput(f"{name} writes the server of a bundle, not a job spec; give a job's id")
    check_portable(job)
    return export.render(job, new_id() if job_id is None else checked_id(job_id), settings)


def _version(engine: Engine) -> str | None:
    """None where the engine's environment is missing: a plan needs none."""
    try:
        return engine.version()
    except EngineError:
        return None


def _consistent(job: OptimizationJob) -> None:
    """Sampler and runner are known, and the sampler keeps what is asked to be kept.

    Raises:
        BadInput: says which and why.
    """
    tuner = TUNERS.load(job.tuner.name)
    RUNNERS.check(job.tuner.runner)
    if job.tuner.storage is not None and not tuner.keeps_study:
        able = [name for name in TUNERS.names() if TUNERS.load(name).keeps_study]
        raise BadInput(
            f"tuner.storage: the sampler {tuner.name} keeps its results in the job's folder, not "
            f"in a database; leave storage out, or choose {' or '.join(able)}"
        )


class Submitter:
    """Takes jobs.

    Args:
        home: where jobs, models and bundles live; default: ``default_home()``, on a cluster its
            ``$OPTIKIT_HOME``, else ``~/.optikit``.
        pool: where stages run: ``ray``, ``process`` (no Ray), ``inline`` (in the driver); None:
            ``inline`` for a simulated job, which is over before a worker has started, else ``ray``.
            On a cluster ``ray``.
        site: what jobs may read and run; None: any file, and a model's own code only where
            ``OPTIKIT_TRUST_REMOTE_CODE=1`` is set.
        address: of a Ray cluster's dashboard, ``http://HEAD:8265``: jobs run there.
        python: the cluster's interpreter that has Ray and OptiKIT's dependencies.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        pool: str | None = None,
        site: Site | None = None,
        address: str | None = None,
        python: str = "python",
    ) -> None:
        if pool is not None:
            POOLS.check(pool)
        self.home = Path(home).absolute() if home and not address else default_home()
        self.pool = pool
        self.site = site
        self.address = address
        self._home_there = str(home) if home else None
        self._python = python

    def plan(self, job: OptimizationJob) -> Plan:
        """Resolve a job without touching a network or a GPU.

        Raises:
            BadInput: what cannot run, and why.
            UnsafeInput: a path outside the site's roots, or code that nobody allowed.
        """
        flow = FLOWS.load(job.flow)
        _consistent(job)
        for name in job.flow_params.recipe:
            RECIPES.check(name)
        asked = job.flow_params.recipe if flow.compresses else ()
        recipes = [RECIPES.load(name).facts for name in asked]
        engine = ENGINES.load(job.engine.name)
        permit = permit_for(job, self.site, self.home)
        file = job.workload.trace
        trace = read_trace(Path(file), permit.roots) if file else None
        plan = make_plan(
            job,
            flow,
            self._shape(job, engine.facts, permit, trace),
            engine.facts,
            recipes,
            cpu_dtype(),
            trace,
            _version(engine),
        )
        engine.check(plan.serving, plan.sku.kind)
        if "tune" in flow.stages:
            for serving in each_value(plan.space, plan.serving):
                engine.check(serving, plan.sku.kind)
        return plan.model_copy(update={"permit": permit})

    def _shape(
        self, job: OptimizationJob, engine: EngineFacts, permit: Permit, trace: Trace | None
    ) -> ModelShape:
        if job.model.uri is not None:
            if is_address(job.model.uri):
                return shape_elsewhere(job.model.uri, self.home, permit)
            return shape_of_folder(path_of(job.model.uri), permit.roots)
        if engine.elsewhere:
            return unseen_shape(job, trace)
        try:
            return shape_of_folder(
                Path(FileModelStore(self.home).find(job.model.name, job.model.version).path)
            )
        except UnknownName as error:
            shape = shipped_shape(job.model.name)
            if shape is not None:
                return shape
            if not engine.simulated:
                raise
            raise UnknownName(
                f"{error}. To simulate it, a folder with its config.json is enough (model.uri), or "
                f"one of the shapes that ship: {', '.join(shipped_names())}"
            ) from None

    @overload
    def submit(
        self,
        job: OptimizationJob,
        wait: Literal[True] = True,
        on_event: OnEvent | None = None,
        job_id: str | None = None,
    ) -> JobResult: ...

    @overload
    def submit(
        self,
        job: OptimizationJob,
        wait: Literal[False],
        on_event: OnEvent | None = None,
        job_id: str | None = None,
    ) -> Job | RemoteJob: ...

    def submit(
        self,
        job: OptimizationJob,
        wait: bool = True,
        on_event: OnEvent | None = None,
        job_id: str | None = None,
    ) -> JobResult | Job | RemoteJob:
        """Run a job in a driver process of its own.

        Args:
            wait: False: return the running Job at once.
            on_event: called with each event of the journal while waiting.
            job_id: None: a new one. A cluster that has this job already is asked for no second.

        Raises:
            BadInput: the spec, the model or the machine cannot serve the job.
            StageFailed: a stage gave up.
            Cancelled: the job was cancelled, or Ctrl-C was pressed here.
            ClusterError: the cluster cannot be reached, or refused.
        """
        started = self.start(job, job_id)
        if not wait:
            return started
        try:
            return started.result(on_event=on_event)
        except KeyboardInterrupt:
            started.cancel()
            raise Cancelled(f"job {started.id} was cancelled") from None

    def start(self, job: OptimizationJob, job_id: str | None = None) -> Job | RemoteJob:
        """Check, open the archive, start the driver; returns at once. On a cluster: send it."""
        asked_for()  # a driver's log has a format, or there is none
        if self.address is not None:
            there, python = self._home_there, self._python
            return RemoteJob.submit(
                self.address, job, job_id, home=there, pool=self.pool, python=python
            )
        opened = self.open(job, job_id)
        archive = opened.archive
        start_driver(archive, self.pool or default_pool(archive.plan()), Path.cwd())
        return opened

    def open(
        self,
        job: OptimizationJob,
        job_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Job:
        """Check the job and open its archive here; no driver runs yet.

        Args:
            job_id: reserved for it (``archive.new_id``); None: a new one.
            facts: go into ``environment.json``, over what is found here: ``folder`` is where the
                job's relative paths lead.

        Raises:
            BadInput: the spec, the model or the machine cannot serve the job.
            UnsafeInput: the spec holds a secret of the environment.
        """
        plan = self.plan(job)
        held = Redactor(secrets_in(os.environ)).held_by(job.model_dump_json())
        if held:
            raise UnsafeInput(
                f"the job spec holds the value of {', '.join(held)}, and a spec is kept for all to "
                "read; leave it out: secrets are given by environment variables or files"
            )
        if job.model.uri is None and not (plan.simulated or plan.elsewhere):
            FileModelStore(self.home).find(job.model.name, job.model.version)
        if "evaluate" in plan.flow.stages and not plan.simulated:
            EVALUATORS.load(EVALUATOR).check(job.quality.tasks, plan.permit)
        pool = self.pool or default_pool(plan)
        needed = RUNNERS.load(job.tuner.runner).pool
        if "tune" in plan.flow.stages and needed not in (None, pool):
            raise BadInput(
                f"tuner.runner: {job.tuner.runner} runs trials on the pools {needed}, and this "
                f"job's are {pool}; submit with --pool {needed}, or choose the runner packed"
            )
        self.home.mkdir(parents=True, exist_ok=True)
        lack = lacking(self.home, needs_of_job(self.home, FileModelStore(self.home), plan))
        if lack is not None:
            raise BadInput(
                f"the disk is too small for the job: {lack}. `optikit archive gc` shows what may "
                "go; or set OPTIKIT_HOME to a larger disk"
            )
        engine = ENGINES.load(job.engine.name)
        environment = {
            **describe_environment(),
            "engine": {
                "name": job.engine.name,
                "version": engine.version(),
                "packages": engine.packages(),
            },
            "folder": str(Path.cwd()),
            **(facts or {}),
        }
        return Job(JobArchive.create(self.home, plan, environment, job_id))
