"""Decisions: pure functions and small ask/tell machines over specs."""
