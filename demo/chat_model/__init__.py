"""A scripted chat model: an OpenAI-compatible server whose answers come from a table."""
