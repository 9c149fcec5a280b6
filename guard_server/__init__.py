"""Qwen3Guard on vLLM: serving the models, and the demo guards.

Nothing here imports torch or vllm except what vLLM loads.
"""

__version__ = "0.1.0"
"""The version of the whole project: pyproject.toml and the plugins in dist/ read it here."""
