"""Real servers as subprocesses."""
