"""Certify and tune the model as it is, publish."""

from optikit.spec.flow import Flow

FLOW = Flow(
    name="tune",
    stages=("fetch", "benchmark", "tune", "publish"),
    summary="Certify and tune the model as it is, publish.",
)
