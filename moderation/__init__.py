"""Moderation with Qwen3Guard: a conversation in, a verdict, a decision and a notice out.

Knows no host (Open WebUI), no engine (vLLM) and no GPU; `pipelines` and `guard_server` build on it.
"""
