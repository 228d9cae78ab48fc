"""Fixtures of the stages' tests."""

from tests.unit.stages.publish_case import case

__all__ = ["case"]
