"""Training of the demo guards. Only in a checkout: neither in the wheel nor in the image."""
