"""Figures in words for a person: durations, sizes, gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "CORNER_NAMES",
    "bytes_text",
    "corner_rows",
    "duration",
    "finalist_rows",
    "gain_text",
    "interval",
    "number",
]

CORNER_NAMES = {
    "baseline": "Baseline",
    "quantized": "Quantization only",
    "tuned": "Tuning only",
    "both": "Quantization + tuning",
}


def duration(seconds: float | None) -> str:
    """Seconds for a person.

    >>> duration(7384), duration(75), duration(4.2), duration(None)
    ('2 h 03 min', '1 min 15 s', '4.2 s', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def bytes_text(count: float) -> str:
    """Bytes for a person, in decimal units.

    >>> bytes_text(140_000_000_000)
    '140.0 GB'
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def number(value: Any) -> str:
    """A cell: three digits for a float, a dash for nothing.

    >>> number(3.14159), number(None), number(True), number("as it is")
    ('3.14', '-', 'yes', 'as it is')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def gain_text(corner: Mapping[str, Any]) -> str | None:
    """The gain with its interval; one that may be none is called a tie.

    >>> gain_text({"gain": 1.44, "gain_low": 1.32, "gain_high": 1.57})
    '1.44x (1.32 to 1.57)'
    >>> gain_text({"gain": 1.04, "gain_low": 0.9, "gain_high": 1.2})
    '1.04x (0.90 to 1.20, a tie)'
    """
    gain, low, high = corner["gain"], corner.get("gain_low"), corner.get("gain_high")
    if not gain:
        return None
    if low is None or high is None or low == high:
        return f"{gain:.2f}x"
    tie = ", a tie" if low <= 1 <= high else ""
    return f"{gain:.2f}x ({low:.2f} to {high:.2f}{tie})"


def corner_rows(corners: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The talk's table, a row a corner; of the corners of a job's summary."""
    return [
        {
            "corner": CORNER_NAMES[name],
            "rate req/s": corner["rate_rps"],
            "per device": corner["rate_per_gpu"],
            "SLO met": corner["slo_met"],
            "gain": gain_text(corner),
            "note": corner["reason"]
            or ("preliminary" if corner["preliminary"] and corner["slo_met"] else None),
        }
        for name, corner in corners.items()
    ]


def finalist_rows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was measured again at the end, a row a configuration; of a job's summary."""
    return [
        {
            "configuration of": one["of"] + (" (default)" if one["default"] else ""),
            "variant": one["variant"],
            "mean per device": one["mean_per_device"],
            "runs per device": ", ".join(
                "none held" if rate is None else f"{rate:.4g}" for rate in one["rates_per_device"]
            ),
            "ships": "yes" if facts["winner"] in one["runs"] else "",
        }
        for one in facts["finalists"]
    ]


def interval(ends: Sequence[float | None], unit: str) -> str | None:
    """Two ends of an interval in words; None where neither is known.

    >>> interval([3.0, 3.25], "req/s"), interval([3.0, None], "req/s"), interval([None, None], "ms")
    ('3 to 3.25 req/s', 'at least 3 req/s', None)
    """
    low, high = ends
    if low is not None and high is not None:
        return f"{low:.4g} to {high:.4g} {unit}"
    if low is not None:
        return f"at least {low:.4g} {unit}"
    return None if high is None else f"at most {high:.4g} {unit}"
