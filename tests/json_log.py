"""A process that was asked for logs as JSON, within the test's own."""

from __future__ import annotations

import io
import json
from typing import Any

__all__ = ["SECRET", "Output"]

SECRET = "hf_a\"secret'"
"""Value of HF_TOKEN there."""


class Output(io.StringIO):
    """What it wrote."""

    def records(self) -> list[dict[str, Any]]:
        """Every line, each a record."""
        return [json.loads(line) for line in self.getvalue().splitlines()]
