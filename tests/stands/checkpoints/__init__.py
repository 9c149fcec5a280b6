"""Checkpoints of the published sizes and the reference for Stream."""
