"""Reads the text that a server shows to Prometheus; the library is loaded at the first of it."""

from __future__ import annotations

import math

__all__ = ["MOST_SERIES", "NoMetrics", "families_and_values"]

MOST_SERIES = 5000
"""Of one answer; more is no engine's, and would be kept a thousand times."""
_QUOTED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class NoMetrics(ValueError):
    """A text is not what Prometheus reads; the message says why."""


def families_and_values(text: str) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Families (name to type and help) and the value of each series.

    A series is spelt as in the text, labels sorted: ``vllm:num_requests_running{engine="0"}``.
    Left out: the times at which series were made (``..._created``), and what is no number.

    Raises:
        NoMetrics: the text cannot be read, or has more than 5000 series.
    """
    from prometheus_client.parser import text_string_to_metric_families

    families: dict[str, list[str]] = {}
    values: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue
            families[family.name] = [family.type, family.documentation]
            for sample in family.samples:
                if math.isfinite(sample.value):
                    values[_series(sample.name, sample.labels)] = float(sample.value)
            if len(values) > MOST_SERIES:
                raise NoMetrics(f"more than {MOST_SERIES} series")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, NoMetrics):
            raise
        raise NoMetrics(f"no text of Prometheus: {error!s:.120}") from None
    return families, values


def _series(name: str, labels: dict[str, str]) -> str:
    if not labels:
        return name
    told = ",".join(f'{key}="{labels[key].translate(_QUOTED)}"' for key in sorted(labels))
    return f"{name}{{{told}}}"
