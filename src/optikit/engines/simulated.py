"""A server on paper: nothing is started, the endpoint says what to simulate.

``loadgen/simulated.py`` plays the requests in virtual time. The model "folder" holds one file,
``simulated.json``, which the fetch and compress stages write. Command and environment are those
that vLLM would be started with, so that a bundle shows how to serve it for real.

Replicas (``data_parallel``) are simulated each; ``gpu_memory_utilization`` and ``kv_cache_dtype``
change the KV cache and the step times. ``enable_prefix_caching``, ``block_size`` and
``scheduling_policy`` are accepted without effect: the workload's shared prefix is resident in any
case. Speculation, and eager steps on a GPU, are refused: nothing here knows what they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from optikit import __version__
from optikit.adapters.kernels import must_be_installed, step_times
from optikit.core.fit import element_bytes, fit, weight_bytes
from optikit.engines._vllm_flags import arguments
from optikit.engines.vllm import Vllm
from optikit.errors import BadInput, DoesNotFit, EngineStartFailed, NoKernel, nearest
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.recipe import EngineFacts
from optikit.spec.serving import ServingConfig
from optikit.spec.simulated import MARK, MODEL_FILE, SimulatedModel, SimulatedReplica
from optikit.spec.sku import DeviceKind

__all__ = ["ENGINE", "Simulated"]

_MODULE = "vllm.entrypoints.openai.api_server"
_NOWHERE = "http://simulated.invalid"
"""A name that never resolves (RFC 6761): a generator that tried to send would not reach anyone."""
_OPTIONS = ("noise", "seed", "step_times")
_SOURCES = ("roofline", "kernels")
_LOAD_BYTES_PER_S = 2e9
_START_S = {"gpu": 60.0, "cpu": 10.0}
"""Start-up in virtual time beside the weights: imports, compilation, graphs. An assumption."""


@dataclass(frozen=True)
class _OnPaper:
    """See ``engines.base.Server``; it cannot die."""

    endpoint: Endpoint
    command: Sequence[str]
    startup_s: float
    """Virtual: what a search on paper pays for a trial before it measures."""
    says: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Nothing can be gone."""


class Simulated:
    """The engine. It serves what vLLM has kernels for, so that what it plans can be served."""

    facts = EngineFacts(
        name="simulated",
        serves=Vllm.facts.serves,
        doubtful=Vllm.facts.doubtful,
        simulated=True,
    )

    def check(self, serving: ServingConfig, device: DeviceKind) -> None:
        """Raise BadInput for a flag that the simulation does not know, or cannot follow here."""
        _must_be_simulated(serving, device)
        if _replica_options(serving).get("step_times") == "kernels":
            must_be_installed()

    def version(self) -> str:
        """OptiKIT's own: the model of the server ships with it."""
        return __version__

    def packages(self) -> dict[str, str]:
        """None: there is no environment of its own."""
        return {}

    def command(
        self,
        model: Path,
        serving: ServingConfig,
        device: DeviceKind,
        *,
        host: str,
        port: int,
        name: str | None = None,
    ) -> list[str]:
        """What vLLM would be started with; the simulation's own options left out."""
        return [
            *("python", "-m", _MODULE),
            *("--model", str(model), "--served-model-name", name or model.name),
            *("--host", host, "--port", str(port)),
            *arguments(serving.model_copy(update={"extra_flags": ()}), device),
        ]

    def environment(self, serving: ServingConfig, device: DeviceKind) -> dict[str, str]:
        """What vLLM's command would need."""
        return Vllm().environment(serving, device)

    @contextmanager
    def serve(
        self,
        model: Path,
        serving: ServingConfig,
        device: DeviceKind,
        *,
        vocab: int,
        log: Path,
        port: int | None = None,
        start_timeout_s: float = 600.0,
        what: str = "server",
        on_start: Callable[[ProcessGroup], None] | None = None,
    ) -> Iterator[_OnPaper]:
        """An endpoint to simulate; port, timeout and ``on_start`` mean nothing here.

        Raises:
            EngineStartFailed: the config cannot stand on the SKU, as a real server could not.
            BadInput: no ``simulated.json`` in the folder or beside it, a bad flag, or one whose
                effect is not simulated.
        """
        _must_be_simulated(serving, device)
        described = _read(model)
        replica = SimulatedReplica.parse(
            {
                **described.model_dump(),
                "serving": serving.model_copy(update={"extra_flags": ()}).model_dump(),
                **_replica_options(serving),
            }
        )
        stands = fit(replica.shape, replica.recipe, replica.sku, replica.serving)
        try:
            times = step_times(replica)
        except DoesNotFit as error:
            raise NoKernel(f"{what} cannot stand: {error}") from None
        if serving.devices > replica.sku.devices:
            raise EngineStartFailed(
                f"{what} cannot stand: {serving.data_parallel} replicas of "
                f"{serving.tensor_parallel} devices, the SKU has {replica.sku.devices}",
                cause="illegal flag",
            )
        if not stands.fits:
            cause = "out of memory" if stands.reason.startswith("weights") else "illegal flag"
            raise EngineStartFailed(f"{what} cannot stand: {stands.reason}", cause=cause)
        startup_s = _startup_s(replica, device)
        command = self.command(model, serving, device, host="127.0.0.1", port=8000)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as sink:
            sink.write(
                f"{MARK}: no server runs; {what}\nstep times: {times.source}\n{stands.reason}\n"
                f"start-up: {startup_s:.1f} s of virtual time, an assumption\n"
            )
            if serving.enable_prefix_caching:
                sink.write("enable_prefix_caching: no effect, a shared prefix is always resident\n")
        yield _OnPaper(
            Endpoint(base_url=_NOWHERE, model=model.name, vocab=vocab, simulated=replica),
            command,
            startup_s,
        )


def _must_be_simulated(serving: ServingConfig, device: DeviceKind) -> None:
    """Raise BadInput for what would change a server in a way that is not simulated."""
    for name, said in (
        ("speculative_ngram", serving.speculative_ngram > 0),
        ("enforce_eager", serving.enforce_eager and device == "gpu"),
    ):
        if said:
            raise BadInput(
                f"{name} = {getattr(serving, name)} is not simulated: how fast a server is with it "
                f"depends on what it generates or launches. Leave {name} out of the space, or "
                "measure on a real engine"
            )


def _startup_s(replica: SimulatedReplica, device: DeviceKind) -> float:
    """Seconds to load one device's weights (replicas and devices load side by side), and the rest.

    On a CPU the model is small and its weights are in the page cache.
    """
    if device == "cpu":
        return _START_S[device]
    own = element_bytes(replica.serving.dtype)
    weights = weight_bytes(replica.shape, replica.recipe, own) / replica.serving.tensor_parallel
    return _START_S[device] + weights / _LOAD_BYTES_PER_S


def _replica_options(serving: ServingConfig) -> dict[str, object]:
    """The engine flags that the simulation takes, under the replica's own names.

    Raises:
        BadInput: another flag, or a value that is none.
    """
    found: dict[str, object] = {}
    for given, value in serving.extra_flags:
        name = given.lstrip("-").lower().replace("-", "_")
        if name not in _OPTIONS:
            raise BadInput(
                f"engine.flags: the simulated engine has no {given!r} (a flag of vLLM's changes "
                f"nothing here); {nearest(name, _OPTIONS)}"
            )
        found[name] = value
    source = found.get("step_times", _SOURCES[0])
    if source not in _SOURCES:
        raise BadInput(
            f"engine.flags: step_times {source!r} is not known; choose {' or '.join(_SOURCES)}"
        )
    noise, seed = found.get("noise", 0.0), found.get("seed", 0)
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < 1:
        raise BadInput(f"engine.flags: noise {noise!r} is no number from 0 to below 1")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise BadInput(f"engine.flags: seed {seed!r} is no whole number from 0")
    return found


def _read(model: Path) -> SimulatedModel:
    """What the folder stands for; a bundle has the file beside the place of the model."""
    for place in (model / MODEL_FILE, model.parent / MODEL_FILE):
        if place.is_file():
            try:
                content = json.loads(place.read_text(encoding="utf-8"))
            except ValueError as error:
                raise BadInput(f"{place} is no JSON ({error}); run the job again") from None
            return SimulatedModel.parse(content, str(place))
    raise BadInput(
        f"no {MODEL_FILE} in {model} or beside it, so there is nothing to simulate; keep the "
        "bundle together, or run the job again"
    )


ENGINE = Simulated()
