"""Load on a simulated server: the same loads, in virtual time.

Replicas behind one address (``data_parallel``) are servers of their own; requests go to them in
turn, and so do the clients of a closed loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optikit.adapters.kernels import step_times
from optikit.core.fit import fit
from optikit.core.load import Load
from optikit.core.simulate import SimulatedServer
from optikit.core.timings import Timings
from optikit.errors import BadInput, DoesNotFit
from optikit.loadgen.base import Watch
from optikit.spec.endpoint import Endpoint
from optikit.spec.simulated import SimulatedReplica

__all__ = ["GENERATOR", "SimulatedGenerator", "server_of"]

_NEXT_SEED = 7919
"""Between the noise of one replica and that of the next."""


def server_of(replica: SimulatedReplica) -> SimulatedServer:
    """The simulation behind an endpoint; with ``data_parallel`` one of its replicas.

    Raises:
        DoesNotFit: the replica cannot stand on its SKU.
    """
    serving = replica.serving
    if serving.data_parallel > 1 and serving.devices > replica.sku.devices:
        raise DoesNotFit(
            f"{serving.data_parallel} replicas of {serving.tensor_parallel} devices were asked for,"
            f" the SKU has {replica.sku.devices}"
        )
    stands = fit(replica.shape, replica.recipe, replica.sku, replica.serving)
    if not stands.fits:
        raise DoesNotFit(stands.reason)
    return SimulatedServer(
        times=step_times(replica),
        max_num_seqs=replica.serving.max_num_seqs,
        max_num_batched_tokens=replica.serving.max_num_batched_tokens,
        kv_tokens=stands.kv_tokens,
        noise=replica.noise,
    )


class SimulatedGenerator:
    """See :class:`optikit.loadgen.base.LoadGenerator`; the endpoint says what to simulate."""

    name = "simulated"

    def __init__(self) -> None:
        self._now_s = 0.0

    def clock(self) -> float:
        """Virtual seconds that all runs took."""
        return self._now_s

    def run(
        self,
        endpoint: Endpoint,
        load: Load,
        *,
        concurrency: int | None = None,
        timeout_s: float = 600.0,
        watch: Watch | None = None,
        watch_every: int = 32,
        keep_tokens: bool = False,
    ) -> Timings:
        """Serve the load.

        Raises:
            BadInput: the endpoint is a real one.
            DoesNotFit: the replica, or a request, does not fit.
        """
        replica = endpoint.simulated
        if replica is None:
            raise BadInput(f"{endpoint.base_url} is no simulated server; use generator 'openai'")
        timings = _served(replica, load, concurrency, timeout_s, keep_tokens)
        ends = np.sort(timings.end_s[timings.first : timings.last])
        if watch is not None:
            for number in range(watch_every - 1, int(np.isfinite(ends).sum()), watch_every):
                known = timings.until(float(ends[number]))
                if watch(known):
                    self._now_s += float(ends[number])
                    return known
        late = np.flatnonzero(~(timings.end_s <= timeout_s)[timings.first : timings.last])
        if len(late):
            timings = timings.until(timeout_s)
            errors = {timings.first + int(i): f"not finished in {timeout_s:.0f} s" for i in late}
            timings = replace(timings, errors=errors)
            self._now_s += timeout_s
        elif len(ends):
            self._now_s += float(ends[-1])
        return timings


def _served(
    replica: SimulatedReplica,
    load: Load,
    concurrency: int | None,
    timeout_s: float,
    keep_tokens: bool,
) -> Timings:
    """The load on all replicas, timings in the order of the requests."""
    server = server_of(replica)
    count = replica.serving.data_parallel
    if concurrency:
        count = min(count, concurrency)  # without a client a replica gets no request
    parts = []
    for own in range(count):
        clients = concurrency
        if concurrency and count > 1:
            clients = concurrency // count + (own < concurrency % count)
        run = server.run(
            _share(load, own, count),
            concurrency=clients,
            timeout_s=timeout_s,
            seed=replica.seed + _NEXT_SEED * own,
            keep_tokens=keep_tokens,
        )
        parts.append(run.timings)
    return parts[0] if count == 1 else _merged(load, parts, keep_tokens)


def _share(load: Load, own: int, count: int) -> Load:
    """Every ``count``-th request, from the one with number ``own`` on."""
    if count == 1:
        return load
    turn = slice(own, None, count)
    return replace(
        load,
        at_s=load.at_s[turn],
        prompt_tokens=load.prompt_tokens[turn],
        output_tokens=load.output_tokens[turn],
        first=_before(load.first, own, count),
        last=_before(load.last, own, count),
    )


def _before(place: int, own: int, count: int) -> int:
    """How many of ``own, own + count, own + 2 count, ...`` are below ``place``."""
    return max(0, -(-(place - own) // count))


def _merged(load: Load, parts: Sequence[Timings], keep_tokens: bool) -> Timings:
    """Timings of the whole load from those of its shares."""
    size, count = len(load), len(parts)

    def whole(name: str, kind: type) -> NDArray[Any]:
        found: NDArray[Any] = np.empty(size, dtype=kind)
        for own, part in enumerate(parts):
            found[own::count] = getattr(part, name)
        return found

    tokens = offsets = None
    if keep_tokens:
        offsets = np.concatenate([[0], np.cumsum(load.output_tokens)]).astype(np.int64)
        tokens = np.empty(int(offsets[-1]))
        owner = np.repeat(np.arange(size) % count, load.output_tokens)
        for own, part in enumerate(parts):
            tokens[owner == own] = part.token_s
    return Timings(
        scheduled_s=whole("scheduled_s", np.float64),
        sent_s=whole("sent_s", np.float64),
        first_token_s=whole("first_token_s", np.float64),
        end_s=whole("end_s", np.float64),
        prompt_tokens=whole("prompt_tokens", np.int64),
        output_tokens=whole("output_tokens", np.int64),
        first=load.first,
        last=load.last,
        token_s=tokens,
        token_offsets=offsets,
    )


GENERATOR = SimulatedGenerator()
