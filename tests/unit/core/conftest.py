from __future__ import annotations

from tests.unit.core.adjusted_case import short_law

__all__ = ["short_law"]
