"""Measures the quality and the speed of a guard on labelled data. Statistics and pictures need the extra `eval`."""
