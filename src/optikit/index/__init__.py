"""The archives in SQL: a projection of them that can be made again at any time."""
