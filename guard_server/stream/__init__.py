"""The endpoint of Qwen3Guard-Stream: an answer judged token by token. Imports no engine."""
