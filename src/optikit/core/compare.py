"""Two measurements of one rate side by side: what was certified, and what was seen again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optikit.spec.record import Measurement, Probe
from optikit.spec.slo import Bound, Slo

__all__ = ["differences", "last_certify", "side_by_side"]


def side_by_side(
    slo: Slo, then: Measurement | None, now: Measurement | None
) -> list[dict[str, Any]]:
    """A row for each bound: ``bound``, ``limit_ms``, ``allowed``, ``then`` and ``now``.

    A side has the percentile that is bounded with its 95 % interval (``value_ms``, ``low_ms``,
    ``high_ms``; of a goodput None) and the share over the limit with its own (``share``,
    ``share_low``, ``share_high``). A side that was not measured is None.
    """
    return [
        {
            "bound": str(bound),
            "limit_ms": bound.limit_ms if isinstance(bound, Bound) else None,
            "allowed": round(bound.allowed, 9),
            "then": _side(bound, then),
            "now": _side(bound, now),
        }
        for bound in slo.bounds
    ]


def _side(bound: object, seen: Measurement | None) -> dict[str, float | None] | None:
    if seen is None:
        return None
    found = seen.quantile(bound.metric, bound.percentile) if isinstance(bound, Bound) else None
    evidence = next((item for item in seen.bounds if item.bound == str(bound)), None)
    return {
        "value_ms": found.value_ms if found else None,
        "low_ms": found.low_ms if found else None,
        "high_ms": found.high_ms if found else None,
        "share": evidence.share if evidence else None,
        "share_low": evidence.low if evidence else None,
        "share_high": evidence.high if evidence else None,
    }


def last_certify(probes: tuple[Probe, ...]) -> Probe | None:
    """The last probe at the rate that is certified, one that says something before a void one."""
    tried = [probe for probe in probes if probe.phase == "certify"]
    said = [probe for probe in tried if probe.verdict != "void"]
    return max(said or tried, key=lambda probe: probe.number, default=None)


def differences(what: str, then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, a sentence each.

    >>> differences("hardware", {"cpu": "a", "cores": "2"}, {"cpu": "b", "cores": "2"})
    ["hardware, cpu: was 'a', is 'b'"]
    """
    return [
        f"{what}{key and ', '}{key}: was {_shown(then.get(key))}, is {_shown(now.get(key))}"
        for key in dict.fromkeys((*then, *now))
        if then.get(key) != now.get(key)
    ]


def _shown(value: str | None) -> str:
    return "not stated" if value is None else repr(value)
