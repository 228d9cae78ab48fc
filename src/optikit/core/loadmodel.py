"""How a request's latency follows from the arrivals around it, and what that says of any rate.

Of two probes at the same rate one has its arrivals bunched and the other has not, and most of the
difference between their percentiles comes from that. But the arrivals are ours: we know their law.
So the latency is regressed on the load around each request (arrivals, and tokens where lengths
differ, in windows before and after it), and the share of requests over a limit is averaged over
the law of that load instead of over the few bunches a probe happened to hold. This is the method
of control variates (Lavenberg and Welch, Management Science 27, 1981, p. 322; Glasserman, Monte
Carlo Methods in Financial Engineering, 2003, section 4.1) with a fitted response; it leaves what
the load does not explain, and that is several times less than the whole
(benchmarks/rate_search.py).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from optikit.core.evidence import Excess
from optikit.core.load import Load, plan_load
from optikit.spec.workload import Trace, Workload

__all__ = ["LoadModel", "Seen", "Share", "fit_load_model"]

Matrix = NDArray[np.float64]
EDGES = np.array([-8, -4, -2, -1, -0.5, -0.25, -0.1, -0.03, 0, 0.03, 0.1, 0.25, 0.5, 1.0])
"""Edges of the windows around a request's arrival, in mean latencies."""
TOKEN_EDGES = np.array([-8, -2, -0.5, -0.1, 0, 0.1, 0.5, 1.0])
"""The same for the tokens that arrived, where lengths differ."""
RIDGE = 5.0
"""Prior weight of 'this window does not matter', in requests."""
BLOCKS = 16
"""Consecutive groups of requests that are left out in turn to see how far the answer strays."""
LAW_REQUESTS = 30_000
_LAW_SEED = 20_26
_GRID = 1.03  # rates and latencies of the law are rounded to powers of this: few are ever needed


@dataclass(frozen=True)
class Seen:
    """One probe: what was sent, and what came of the measured requests under one bound."""

    load: Load
    excess: Excess
    rate_rps: float


@dataclass(frozen=True)
class Share:
    """Share of requests over the limit in the long run at one rate."""

    value: float
    error: float
    """Standard error on the logit scale."""

    def bounds(self, z: float) -> tuple[float, float]:
        """Interval of ``z`` standard errors on each side."""
        middle = logit(self.value)
        return float(expit(middle - z * self.error)), float(expit(middle + z * self.error))


def _windows(at_s: Matrix, work: Matrix | None, edges: Matrix, unit_s: float) -> Matrix:
    """Work (None: requests) that arrived in each window around each request, ``(n, windows)``."""
    places = [np.searchsorted(at_s, at_s + edge * unit_s) for edge in edges]
    if work is not None:
        total = np.concatenate([[0.0], np.cumsum(work)])
        places = [total[place] for place in places]
    return np.stack([b - a for a, b in itertools.pairwise(places)], axis=1).astype(np.float64)


def _design(load: Load, unit_s: float, first: int, last: int) -> Matrix:
    """What is known of the load around requests ``first <= i < last``, a row each."""
    count = _windows(load.at_s, None, EDGES, unit_s)
    behind, around = count[:, :8].sum(axis=1), count[:, 3:12].sum(axis=1)
    columns = [count, behind[:, None] ** 2, around[:, None] ** 2]
    for tokens in (load.prompt_tokens, load.output_tokens):
        if len(tokens) and tokens.min() != tokens.max():
            sizes = tokens.astype(np.float64)
            columns += [
                _windows(load.at_s, sizes, TOKEN_EDGES, unit_s),
                sizes[:, None],
                np.log(sizes)[:, None],
            ]
    return np.hstack(columns)[first:last]


@functools.lru_cache(maxsize=48)
def _law(workload: Workload, trace: Trace | None, step: int, unit_step: int) -> Matrix:
    """The design of a long load at rate ``_GRID ** step``: the law of the load, sampled."""
    load = plan_load(workload, _GRID**step, LAW_REQUESTS, _LAW_SEED, trace=trace)
    edge = LAW_REQUESTS // 50
    design = _design(load, _GRID**unit_step, edge, LAW_REQUESTS - edge)
    return design.astype(np.float32)


def _calibrate(
    f: Matrix, over: Matrix, units: Matrix, slope: float, begin: tuple[float, float]
) -> tuple[float, float]:
    """Logistic regression of 'over' on f: intercept and log of the slope over ``slope``.

    The intercept is free, so that the fitted shares agree with the shares seen; log-slope has a
    normal prior of standard deviation 0.5.
    """
    a, t = begin  # b = slope * exp(t)
    weight = units / max(float(units.mean()), 1e-12)  # gaps of one request are one observation
    share = np.divide(over, units, out=np.zeros_like(over), where=units > 0)
    for _ in range(40):
        b = slope * np.exp(t)
        p = expit(np.clip(a + b * f, -30, 30))
        w = weight * p * (1 - p)
        bf = b * f
        grad = np.array(
            [np.sum(weight * (share - p)) - 0.04 * a, np.sum(weight * (share - p) * bf) - 4 * t]
        )
        hess = np.array(
            [[np.sum(w) + 0.04, np.sum(w * bf)], [np.sum(w * bf), np.sum(w * bf * bf) + 4]]
        )
        step = np.linalg.solve(hess, grad)
        step *= min(1.0, 1.0 / max(abs(step[0]) / 2, abs(step[1]) / 0.5, 1e-12))
        a, t = a + step[0], t + step[1]
        if np.max(np.abs(step)) < 1e-6:
            break
    return float(a), float(t)


@dataclass(frozen=True)
class LoadModel:
    """The response of one server under one bound, fitted to all probes near a rate.

    P(over) = expit(a + b * f), f linear in the design: the mean of log(latency / limit). Column 0
    of each vector is the fit to everything, the others leave one block of requests out.
    """

    workload: Workload
    trace: Trace | None
    unit_step: int
    weights: Matrix
    """Shape ``(columns of the design, 1 + BLOCKS)``."""
    offsets: Matrix
    a: Matrix
    b: Matrix

    def share(self, rate_rps: float) -> Share:
        """The long-run share of requests over the limit at a rate."""
        exact = np.log(rate_rps) / np.log(_GRID)
        step = int(np.floor(exact))
        part = float(exact - step)
        values = (1 - part) * self._logits(step) + part * self._logits(step + 1)
        count = len(values) - 1
        strays = values[1:] - values[1:].mean()
        error = float(np.sqrt((count - 1) / count * np.sum(strays**2)))  # delete-a-group jackknife
        return Share(float(expit(values[0])), error)

    def root(self, share: float, low_rps: float, high_rps: float) -> tuple[float, float] | None:
        """The rate at which the long-run share has a value, and d logit(share) / d log(rate).

        Returns:
            None where the share does not cross that value between the two rates.
        """
        goal = float(logit(share))
        left = int(np.floor(np.log(low_rps) / np.log(_GRID)))
        right = int(np.ceil(np.log(high_rps) / np.log(_GRID)))
        if self._logit(left) >= goal or self._logit(right) <= goal:
            return None
        while right - left > 1:
            middle = (left + right) // 2
            left, right = (left, middle) if self._logit(middle) > goal else (middle, right)
        before, low, high, after = map(self._logit, (left - 1, left, right, right + 1))
        part = (goal - low) / max(high - low, 1e-12)
        return float(_GRID ** (left + part)), (after - before) / (3 * float(np.log(_GRID)))

    def _logit(self, step: int) -> float:
        return float(self._logits(step, 1)[0])

    def _logits(self, step: int, fits: int = 1 + BLOCKS) -> Matrix:
        law = _law(self.workload, self.trace, step, self.unit_step)
        mean = law @ self.weights[:, :fits].astype(np.float32) + self.offsets[:fits]
        shares = expit(self.a[:fits] + self.b[:fits] * mean).mean(axis=0)
        return np.asarray(logit(np.clip(shares, 1e-6, 1 - 1e-6)), dtype=np.float64)


def fit_load_model(
    seen: Sequence[Seen], workload: Workload, unit_s: float, trace: Trace | None = None
) -> LoadModel:
    """Fit the response to probes of one server.

    Args:
        unit_s: mean latency near the rate in question: the windows' unit.
        seen: probes with 30 known requests or more in sum.
    """
    unit_step = round(np.log(max(unit_s, 1e-4)) / np.log(_GRID))
    unit = _GRID**unit_step
    design = np.vstack([_design(s.load, unit, s.load.first, s.load.last) for s in seen])
    score = np.concatenate([s.excess.score for s in seen])
    over = np.concatenate([s.excess.over for s in seen])
    units = np.concatenate([s.excess.units for s in seen])
    known = np.isfinite(score)
    mean, scale = design[known].mean(axis=0), design[known].std(axis=0) + 1e-9
    z = np.column_stack([(design - mean) / scale, np.ones(len(design))])
    y = np.where(known, score, 0.0)
    penalty = RIDGE * np.eye(z.shape[1])
    penalty[-1, -1] = 0.0
    blocks = np.array_split(np.arange(len(score)), BLOCKS)
    parts = []
    for block in blocks:
        rows = block[known[block]]
        parts.append((z[rows].T @ z[rows], z[rows].T @ y[rows]))
    gram, moment = sum(p[0] for p in parts), sum(p[1] for p in parts)
    fits: list[tuple[Matrix, float, float]] = []
    begin = (0.0, 0.0)
    for left_out in (None, *range(BLOCKS)):
        keep = np.ones(len(score), dtype=bool)
        if left_out is not None:
            keep[blocks[left_out]] = False
        lost = (0.0, 0.0) if left_out is None else parts[left_out]
        weights = np.linalg.solve(gram - lost[0] + penalty, moment - lost[1])
        f = z @ weights
        spread = float(np.std((y - f)[known & keep]))
        slope = 1.7 / max(spread, 1e-4)  # what the probit of normal errors is as a logit
        a, t = _calibrate(f[keep], over[keep], units[keep], slope, begin)
        begin = (a, t)
        fits.append((weights, a, slope * float(np.exp(t))))
    matrix = np.stack([w[:-1] / scale for w, _, _ in fits], axis=1)
    constants = np.array([w[-1] for w, _, _ in fits])
    return LoadModel(
        workload=workload,
        trace=trace,
        unit_step=unit_step,
        weights=matrix,
        offsets=constants - mean @ matrix,
        a=np.array([a for _, a, _ in fits]),
        b=np.array([b for _, _, b in fits]),
    )
