"""Flows: which of the six stages a job runs, one file a flow."""

from optikit.plugins import Room
from optikit.spec.flow import Flow

FLOWS: Room[Flow] = Room("optikit.flows", "FLOW")
