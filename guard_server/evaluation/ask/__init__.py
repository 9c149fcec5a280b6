"""Asks a guard for a result for each row."""
