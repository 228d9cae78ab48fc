"""Compress, prove the quality, certify the rate, tune the engine, publish."""

from optikit.spec.flow import Flow

FLOW = Flow(
    name="quantize_and_tune",
    stages=("fetch", "compress", "evaluate", "benchmark", "tune", "publish"),
    summary="Compress, prove the quality, certify the rate, tune the engine, publish.",
)
