"""Prompt and output lengths of a probe's requests: drawn so that every probe weighs the same."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from optikit.spec.workload import Length, Trace

__all__ = ["lengths", "trace_lengths"]


def lengths(length: Length, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``count`` lengths in tokens in random order, shape ``(count,)``.

    One from each of ``count`` equally likely parts of the distribution (stratified sampling,
    McKay, Beckman and Conover, Technometrics 21, 1979, p. 239): each is distributed as asked,
    and the sum, the load of the probe, hardly strays.

    A whole number k stands for what lies between k - 1/2 and k + 1/2, at both ends of the range
    too.

    >>> lengths(Length.parse(7), 3, np.random.default_rng(0)).tolist()
    [7, 7, 7]
    """
    if length.distribution == "fixed":
        return np.full(count, length.low, dtype=np.int64)
    share = (generator.permutation(count) + generator.random(count)) / max(count, 1)
    low, high = length.low - 0.5, length.high + 0.5
    if length.distribution == "uniform":
        values = low + share * (high - low)
    elif length.distribution == "normal":
        values = _cut_normal(share, length.mean, length.std, low, high)
    else:
        # the logarithm's mean and variance, from those of the length
        variance = math.log1p((length.std / length.mean) ** 2)
        middle = math.log(length.mean) - variance / 2
        logs = _cut_normal(share, middle, math.sqrt(variance), math.log(low), math.log(high))
        values = np.exp(logs)
    return np.clip(np.rint(values), length.low, length.high).astype(np.int64)


def _cut_normal(
    share: NDArray[np.float64], mean: float, std: float, low: float, high: float
) -> NDArray[np.float64]:
    """Quantiles of a normal distribution between two values (inverse of its distribution)."""
    if std == 0:
        return np.full(len(share), mean)
    first, last = ndtr((low - mean) / std), ndtr((high - mean) / std)
    return mean + std * np.asarray(ndtri(first + share * (last - first)), dtype=np.float64)


def trace_lengths(
    trace: Trace, count: int, start: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prompt and output lengths of ``count`` requests from row ``start`` on, around the end."""
    rows = (start + np.arange(count)) % len(trace.arrivals_s)
    return trace.columns.prompt_tokens[rows], trace.columns.output_tokens[rows]
