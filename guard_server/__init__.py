"""Qwen3Guard on vLLM: serving the models, and the demo guard. Nothing here imports torch or vllm but `train_demo`."""
