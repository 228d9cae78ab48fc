"""Compress and compare the quality; publish nothing."""

from optikit.spec.flow import Flow

FLOW = Flow(
    name="evaluate",
    stages=("fetch", "compress", "evaluate"),
    summary="Compress and compare the quality; publish nothing.",
)
