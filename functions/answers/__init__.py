"""The answers to a request that a Function guards, as they pass through Open WebUI's hooks."""
