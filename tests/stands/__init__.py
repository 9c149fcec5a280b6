"""Stand-ins for what the product talks to, and what tests and benchmarks share."""
