"""Open WebUI's shapes: what its requests, messages and answers hold, and how each is judged. Shared by both hosts."""
