"""Compression recipes, one file a recipe."""

from optikit.plugins import Room
from optikit.recipes.base import Recipe

RECIPES: Room[Recipe] = Room("optikit.recipes", "RECIPE")
