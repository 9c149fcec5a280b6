"""Labelled rows: from files, from the hub, and derived from other rows."""
