"""Chat models with scripted answers, at a fixed pace, or in a server's dialect."""
