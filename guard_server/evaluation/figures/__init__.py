"""Figures of a group of judged rows."""
