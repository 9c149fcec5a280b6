"""One server of Qwen3Guard-Gen: the facts about it, requests to it, and its replies."""
