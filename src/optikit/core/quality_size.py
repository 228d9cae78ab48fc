"""How many items does the quality verdict need?

A sample is large enough where a model without loss would be called kept, and one that lost
``DETECT`` would be called lost, each with at least 80 % power.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import chdtri, gamma, ndtri, stdtrit

__all__ = [
    "DETECT",
    "LEVEL",
    "NOISE_LEVEL",
    "PSEUDO",
    "items_needed",
    "items_needed_unpaired",
    "items_to_tell",
    "reach",
]

LEVEL = 0.025
"""Of each one-sided test."""
NOISE_LEVEL = 0.05
"""Of the test against the baseline's own runs."""
DETECT = 0.03
"""Loss that the size of a sample must show, in score units."""
Z = 1.959964
"""Normal quantile for LEVEL."""
POWER_Z = 0.841621
"""Normal quantile of 80 % power."""
PSEUDO = Z * Z / 2.0
"""Discordant pairs added to the variance, half in each direction."""
_MOST_ITEMS = 10**9
"""A size above it is no advice."""


def items_needed(
    baseline: float,
    spread: float,
    margin: float,
    *,
    tasks: int = 1,
    noise: float = 0.0,
    runs: int = 1,
) -> int | None:
    """Items at which the paired verdict tells, with at least 80 % power each way.

    A model without loss is then called kept, and one that lost ``DETECT`` (twice the allowed loss
    where that is more) is called lost, whatever the other tasks show.

    Args:
        baseline: mean score.
        spread: mean square of an item's difference for a model without loss; for right-or-wrong
            items the share that changes.
        noise: variance of one item's score from run to run of the baseline.
        runs: of the baseline. Several runs of independent items differ by chance, and what they
            differ by more than expected widens the verdict's interval: its mean is counted in.

    Returns:
        None where the baseline scores nothing, or next to it.
    """
    allowed = margin * baseline
    if allowed <= 0:
        return None
    loss = _detectable(baseline, allowed)
    spread += (1.0 + 1.0 / runs) * noise * _chance_excess(runs)
    worse = spread + loss  # the items that are lost change too
    z_lost = -float(ndtri(LEVEL / tasks))
    runs_differ = _noise_reach(runs, tasks) * math.sqrt(noise)

    def tells(n: int) -> bool:
        chance = POWER_Z * math.sqrt(worse / n)
        return (
            reach(spread, n) + POWER_Z * math.sqrt(spread / n) <= allowed
            and z_lost * math.sqrt(worse * n + PSEUDO) / n + chance <= loss - allowed
            and runs_differ / math.sqrt(n) + chance <= loss
        )

    return _least(tells)


def items_needed_unpaired(
    baseline: float, spread: float, margin: float, *, tasks: int = 1
) -> int | None:
    """The same for two standard errors that are taken as independent, as most tables print them.

    Args:
        spread: variance of an item's score, summed over both models.
    """
    allowed = margin * baseline
    if allowed <= 0:
        return None
    kept = (Z + POWER_Z) / allowed
    lost = (POWER_Z - float(ndtri(LEVEL / tasks))) / (_detectable(baseline, allowed) - allowed)
    return _squared(math.sqrt(spread) * max(kept, lost))


def items_to_tell(spread: float, beyond: float, tasks: int) -> int | None:
    """Items that tell a loss which lies ``beyond`` the margin, or short of it where negative.

    Args:
        spread: variance of one item's loss beyond the margin.

    Returns:
        None where it lies too near the margin.
    """
    z = Z if beyond < 0 else -float(ndtri(LEVEL / tasks))
    return _squared(math.sqrt(spread) * (z + POWER_Z) / abs(beyond)) if beyond else None


def reach(variance: float, n: int) -> float:
    """How far the upper bound lies above the estimate, for a variance per item."""
    return (PSEUDO + Z * math.sqrt(variance * n + Z * Z / 4.0)) / n


def _detectable(baseline: float, allowed: float) -> float:
    """The loss that the size of a sample must show; no more than there is to lose."""
    return min(max(DETECT, 2.0 * allowed), baseline)


def _noise_reach(runs: int, tasks: int) -> float:
    """Loss that passes the test against R runs four times in five, in run-to-run deviations."""
    if runs < 2:
        return 0.0
    quantile = float(stdtrit(runs - 1, 1.0 - NOISE_LEVEL / tasks))
    likely = math.sqrt(float(chdtri(runs - 1, 0.2)) / (runs - 1))
    return quantile * math.sqrt(1.0 + 1.0 / runs) * likely


def _chance_excess(runs: int) -> float:
    """Mean of ``max(0, v - 1)``, v a variance over R runs in units of its true value.

    v is gamma distributed with mean 1 and shape k = (R - 1) / 2: ``k^k exp(-k) / Gamma(k + 1)``.
    """
    k = (runs - 1) / 2
    return k**k * math.exp(-k) / float(gamma(k + 1)) if runs > 1 else 0.0


def _squared(root: float) -> int | None:
    return math.ceil(root * root) if root < math.sqrt(_MOST_ITEMS) else None


def _least(holds: Callable[[int], bool]) -> int | None:
    """Smallest n from which a condition holds that only ever turns true."""
    few, enough = 1, 2
    while not holds(enough):
        if enough > _MOST_ITEMS:
            return None
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if holds(middle) else (middle, enough)
    return enough
