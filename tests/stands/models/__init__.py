"""Chat models that answer as they are told, at a pace, or in a server's dialect."""
