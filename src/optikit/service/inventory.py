"""What the cluster has to share: as the site says, as Ray says, or this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from optikit.adapters.hardware import hardware
from optikit.adapters.ray import accelerators_by_node, cluster
from optikit.spec.queue import Node, Site
from optikit.spec.sku import ResourceSKU

__all__ = ["inventory"]

_CPU = ResourceSKU.CPU_2.facts
_GPU = re.compile(r"\b(A100|H100|H200|L40S)\b")


@contextmanager
def inventory(site: Site) -> Iterator[Callable[[], list[Node]]]:
    """Ask again and again: nodes of a Ray cluster come and go.

    The names of a Ray cluster's nodes are Ray's ids, so that a stage is put where it was admitted;
    nodes that the site names are only counted. A node without GPUs serves CPU SKUs, one with GPUs
    serves those.

    Raises:
        OptikitError: nobody answers at RAY_ADDRESS.
    """
    address = os.environ.get("RAY_ADDRESS")
    if site.nodes:
        yield lambda: list(site.nodes)
    elif address:
        with cluster(address):
            yield _of_ray
    else:
        found = _of_this_machine()
        yield lambda: found


def _of_ray() -> list[Node]:
    nodes = []
    for name, (kind, gpus, cpus) in accelerators_by_node().items():
        if gpus and kind:
            nodes.append(Node(name=name, kind=kind, devices=gpus))
        elif not gpus and cpus >= _CPU.cpus:
            nodes.append(Node(name=name, kind=_CPU.kind, devices=cpus // _CPU.cpus))
    return nodes


def _of_this_machine() -> list[Node]:
    facts = hardware()
    gpus = [text for key, text in facts.items() if re.fullmatch(r"gpu\d+", key)]
    kinds = [match.group(1) for text in gpus if (match := _GPU.search(text))]
    if kinds:
        return [Node(name="here", kind=kind, devices=kinds.count(kind)) for kind in kinds[:1]]
    return [Node(name="here", kind=_CPU.kind, devices=max(1, int(facts["cores"]) // _CPU.cpus))]
