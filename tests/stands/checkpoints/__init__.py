"""Checkpoints of the published sizes, and the reference implementation of Stream."""
