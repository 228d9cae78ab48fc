"""Stores of models and shapes."""
