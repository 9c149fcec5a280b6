"""Guards with scripted replies, or with the dialect of one server."""
