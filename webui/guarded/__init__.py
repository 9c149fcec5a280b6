"""A request to a guarded model: its prompt is judged while the upstream starts, its answer while it grows."""
