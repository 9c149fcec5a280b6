"""The command `serve`: from a model's name to a vLLM process that returns verdicts."""
