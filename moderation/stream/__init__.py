"""The wire of Qwen3Guard-Stream, for both ends."""
