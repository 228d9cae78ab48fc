"""Measure the rate that the default configuration holds."""

from optikit.spec.flow import Flow

FLOW = Flow(
    name="benchmark",
    stages=("fetch", "benchmark"),
    summary="Measure the rate that the default configuration holds.",
)
