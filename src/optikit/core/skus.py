"""In which order SKUs are tried for a model: this machine's first, of these the smallest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from optikit.spec.sku import MIB, ResourceSKU

__all__ = ["SkuOrder", "sku_order"]

_MEMORY = re.compile(r"(?P<mib>\d+) MiB")
_LEAST_SHARE = 0.95
"""A device with less of its SKU's memory is another one: there are A100s of 40 GB."""


@dataclass(frozen=True)
class SkuOrder:
    """SKUs to try, one after the other."""

    skus: tuple[ResourceSKU, ...]
    here: frozenset[ResourceSKU]
    """Those that this machine has."""
    why_here: str
    why_elsewhere: str

    def why(self, sku: ResourceSKU) -> str:
        """Why this one comes where it does, for a person."""
        return self.why_here if sku in self.here else self.why_elsewhere


def sku_order(asked: ResourceSKU | None, simulated: bool, gpus: Sequence[str] = ()) -> SkuOrder:
    """The order in which SKUs are tried.

    Args:
        asked: by the user; then it is the only one.
        simulated: no device has to be there.
        gpus: ``name, memory MiB, driver`` of each GPU of this machine, as its driver lists them.

    >>> sku_order(None, False).skus[:2]
    (<ResourceSKU.CPU_2: 'CPU_2'>, <ResourceSKU.L40S_1: 'L40S_1'>)
    """
    if asked is not None:
        return SkuOrder((asked,), frozenset({asked}), "as it was asked for", "")
    by_size = _by_size()
    if simulated:
        why = "the smallest GPU SKU that holds the model; simulated, so that none has to be there"
        return SkuOrder(by_size, frozenset(by_size), why, "")
    remote = "submit it to a cluster that has one (--address, --server), or write engine: simulated"
    if not gpus:
        cpu = ResourceSKU.CPU_2
        return SkuOrder(
            (cpu, *by_size),
            frozenset({cpu}),
            "this machine has no GPU, so vLLM on its CPU is what would run here",
            f"this machine has no GPU, and its CPU does not do: {remote}",
        )
    found = [_accelerator(gpu) for gpu in gpus]
    here = tuple(
        sku
        for sku in by_size
        if found.count(sku.facts.accelerator) >= sku.facts.devices  # of one kind, on this machine
    )
    listed = f"{len(gpus)} GPU(s), {gpus[0].partition(',')[0].strip():.60}"
    return SkuOrder(
        (*here, *(sku for sku in by_size if sku not in here)),
        frozenset(here),
        f"the smallest of this machine's SKUs that holds the model ({listed})",
        f"of what this machine has ({listed}) no SKU holds it: {remote}",
    )


def _by_size() -> tuple[ResourceSKU, ...]:
    """GPU SKUs: fewest devices first, of these the smallest memory."""
    gpus = [sku for sku in ResourceSKU if sku.facts.kind == "gpu"]
    return tuple(sorted(gpus, key=lambda sku: (sku.facts.devices, sku.facts.memory_bytes, sku)))


def _accelerator(gpu: str) -> str | None:
    """The accelerator of the table that a driver's line names; None: another one."""
    memory = _MEMORY.search(gpu)
    words = re.split(r"[^A-Za-z0-9]+", gpu.partition(",")[0].upper())
    for sku in ResourceSKU:
        facts = sku.facts
        if facts.accelerator in words and memory is not None:
            enough = int(memory["mib"]) * MIB >= _LEAST_SHARE * facts.memory_bytes
            return facts.accelerator if enough else None
    return None
