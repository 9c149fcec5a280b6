"""Generators of files that stand in the project; nothing here runs in a product."""
