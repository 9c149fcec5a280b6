"""The command `doctor`: checks a guard endpoint and reports problems with remedies."""
