"""Every kind of fault: what it does, in which job, and how the job has to end after it."""

from __future__ import annotations

import importlib.util

from benchmarks import _fault_acts as act
from benchmarks._fault_case import Kind
from benchmarks._fault_jobs import elsewhere, queued, real, served, simulated

__all__ = ["KINDS"]

_RIGHT = ("done", "negative", "inconclusive")
"""Ends of a job whose measurement itself was disturbed."""

_DONE_OR_FAILED = ("failed", "interrupted")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("worker killed", act.kill_worker, simulated, pools=("process", "ray")),
        Kind(
            "driver killed",
            act.kill_driver,
            simulated,
            first=("interrupted",),
            pools=("process", "inline", "ray"),
        ),
        Kind("driver killed, engine", act.kill_driver, served, first=("interrupted",)),
        Kind("engine killed", act.kill_engine, served),
        Kind("supervisor killed", act.kill_server_alone, served),
        Kind(
            "engine hangs at start",
            act.as_told,
            served,
            before=act.steered(s1={"kind": "hang at start"}),
        ),
        Kind(
            "engine never starts",
            act.as_told,
            served,
            states=("failed",),
            says="the engine failed in all",
            before=act.steered(all={"kind": "hang at start"}),
            weight=0.4,
        ),
        Kind("engine exits 0", act.as_told, served, before=act.steered(s1={"kind": "exit 0"})),
        Kind(
            "engine always exits 0",
            act.as_told,
            served,
            states=("failed",),
            says="the engine failed in all",
            before=act.steered(all={"kind": "exit 0"}),
        ),
        Kind(
            "engine dies",
            act.as_told,
            served,
            before=act.steered(s1={"kind": "die", "after": 7}, s3={"kind": "die", "after": 30}),
        ),
        Kind(
            "engine answers 500",
            act.as_told,
            served,
            before=act.steered(s1={"kind": "http 500", "after": 3}),
        ),
        Kind(
            "engine hangs",
            act.as_told,
            served,
            before=act.steered(s1={"kind": "hang", "after": 5}),
            timeout_s=240.0,
            weight=0.25,
        ),
        Kind(
            "engine is slow",
            act.as_told,
            served,
            states=_RIGHT,
            before=act.steered(all={"kind": "slow", "after": 20}),
        ),
        Kind("disk full", act.full_disk, simulated, pools=("process", "ray")),
        Kind("disk full, engine", act.full_disk, served),
        Kind(
            "disk stays full",
            act.stays_full,
            simulated,
            first=_DONE_OR_FAILED,
            patience_s=2.0,
        ),
        Kind("read-only", act.read_only, simulated, pools=("process", "inline", "ray")),
        Kind("read-only, engine", act.read_only, served),
        Kind(
            "stays read-only",
            act.stays_read_only,
            simulated,
            first=_DONE_OR_FAILED,
            patience_s=2.0,
        ),
        Kind("clock jumps", act.clock_jump, simulated, pools=("process", "inline", "ray")),
        Kind(
            "tracker down",
            act.tracker_failed,
            simulated,
            before=act.no_tracker,
            mlflow=True,
            weight=0.6,
            pools=("process", "inline"),
        ),
        *(
            (Kind("service killed", act.kill_service, queued, start=act.by_service),)
            if importlib.util.find_spec("optikit.service")
            else ()
        ),
        Kind(
            "object store away",
            act.store_away,
            elsewhere,
            before=act.with_store(60.0),
            weight=0.6,
        ),
        Kind(
            "object store stays away",
            act.store_stays_away,
            elsewhere,
            first=("failed",),
            before=act.with_store(1.0),
            weight=0.6,
        ),
        Kind("two resumes", act.two_resumes, simulated, pools=("process", "inline")),
        Kind(
            "raylet killed",
            act.kill_raylet,
            simulated,
            first=("interrupted", "failed", "done"),
            pools=("ray",),
        ),
        Kind(
            "node killed",
            act.kill_node,
            queued,
            start=lambda case: None,
            pools=("ray",),
            weight=0.5,
            timeout_s=240.0,
        ),
        Kind(
            "vLLM killed",
            act.kill_engine,
            real,
            real_engine=True,
            timeout_s=400.0,
        ),
        Kind(
            "vLLM's worker killed",
            act.kill_worker,
            real,
            real_engine=True,
            timeout_s=400.0,
        ),
        Kind(
            "vLLM's driver killed",
            act.kill_driver,
            real,
            real_engine=True,
            first=("interrupted",),
            timeout_s=400.0,
        ),
        Kind(
            "cancelled",
            act.cancelled,
            simulated,
            first=("cancelled", "done"),
            pools=("process", "ray"),
        ),
    )
}
