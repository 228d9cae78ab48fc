"""The search for the highest rate a server sustains: a machine that asks and is told.

It measures nothing and knows no clock; ``loadgen/find_rate.py`` runs the probes that it asks for.
A better method is one more file beside ``doubling.py`` and one more line in ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optikit.core.adjusted import AdjustedSearch
from optikit.core.doubling import DoublingSearch
from optikit.core.racing import Raced
from optikit.core.search import ProbeRequest, Question, RateSearch, probe_seed
from optikit.errors import UnknownName, nearest
from optikit.spec.job import MethodChoice
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload

__all__ = ["METHODS", "ProbeRequest", "RateSearch", "probe_seed", "rate_search", "verification"]

METHODS: Mapping[str, Callable[[Question], RateSearch]] = {
    "adjusted": AdjustedSearch,
    "doubling": DoublingSearch,
}
"""Search methods by the name that ``method.name`` gives."""


def rate_search(
    method: MethodChoice,
    workload: Workload,
    slo: Slo,
    *,
    start_rps: float | None = None,
    seed: int | None = None,
    max_num_seqs: int | None = None,
    trace: Trace | None = None,
    certify: bool = True,
    must_beat_rps: float | None = None,
) -> RateSearch:
    """A new search by the method's name.

    Args:
        certify: False: end with an estimate, where the method can.
        must_beat_rps: give up once the server surely cannot hold this rate; see ``racing.py``.

    Raises:
        UnknownName: no such method; names the nearest.
        BadInput: the SLO bounds what the workload does not have.
    """
    if method.name not in METHODS:
        raise UnknownName(f"unknown method {method.name!r}; {nearest(method.name, METHODS)}")
    question = Question(
        method, workload, slo, must_beat_rps or start_rps, seed, max_num_seqs, trace, certify
    )
    search = METHODS[method.name](question)
    return search if must_beat_rps is None else Raced(search, question, must_beat_rps)


def verification(
    method: MethodChoice,
    workload: Workload,
    slo: Slo,
    rate_rps: float,
    *,
    seed: int,
    max_num_seqs: int | None = None,
    trace: Trace | None = None,
) -> RateSearch:
    """Certify one rate again: warm-up, closed loop, then probes at that rate alone.

    Without an SLO the saturation throughput is measured first, as in a search.

    The result's outcome is ``pass`` (the rate holds), ``infeasible`` (it does not) or
    ``inconclusive``; the verdicts are those of method ``adjusted``, whatever certified it.
    """
    question = Question(method, workload, slo, rate_rps, seed, max_num_seqs, trace)
    return AdjustedSearch(question, only_certify=True)
