"""Evaluators: score a served model on tasks, one file an evaluator."""

from optikit.evaluators.base import Evaluator
from optikit.plugins import Room

EVALUATORS: Room[Evaluator] = Room("optikit.evaluators", "EVALUATOR")
