"""Qwen3Guard on vLLM: serving the models, and the demo guards.

Nothing here imports torch or vllm except what vLLM loads.
"""

from moderation.version import VERSION

__version__ = VERSION
