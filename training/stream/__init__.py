"""Training of the demo Stream guard, from the demo guard (Gen) and its training rows."""
