"""Guards that answer as they are told, or as one server does."""
