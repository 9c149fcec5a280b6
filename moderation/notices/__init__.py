"""The texts that replace a turn, and the choice of their language."""
