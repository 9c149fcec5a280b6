"""Stand-ins for the servers that the product talks to, and helpers that tests and benchmarks share."""
