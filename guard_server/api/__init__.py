"""Routes that this project adds to a guard, without an import of any engine."""
