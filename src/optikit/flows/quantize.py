"""Compress, prove the quality, publish; nothing is measured under load."""

from optikit.spec.flow import Flow

FLOW = Flow(
    name="quantize",
    stages=("fetch", "compress", "evaluate", "publish"),
    summary="Compress, prove the quality, publish; nothing is measured under load.",
)
