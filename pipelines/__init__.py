"""Qwen3Guard inside Open WebUI's Pipelines server. The files an admin uploads are built from here: see `bundle`."""
