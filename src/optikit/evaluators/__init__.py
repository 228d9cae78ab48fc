"""Evaluators: score a served model on tasks, one file an evaluator; and the divergence's reader."""

from optikit.evaluators.base import Evaluator
from optikit.plugins import Room

EVALUATORS: Room[Evaluator] = Room("optikit.evaluators", "EVALUATOR", ("divergence",))
