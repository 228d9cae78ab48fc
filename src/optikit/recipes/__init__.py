"""Compression recipes, one file a recipe."""

from optikit.plugins import Room
from optikit.recipes._llmcompressor import OneShot, Step
from optikit.recipes.base import Recipe

__all__ = ["RECIPES", "OneShot", "Recipe", "Step"]

RECIPES: Room[Recipe] = Room("optikit.recipes", "RECIPE")
