"""Sequences put into batches of like length. Imports nothing."""

from collections.abc import Sequence


def batches(sequences: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Numbers of the sequences, those of like length together, padded at most so many tokens at a time."""
    found: list[list[int]] = []
    for at in sorted(range(len(sequences)), key=lambda at: -len(sequences[at])):
        if not found or len(sequences[found[-1][0]]) * (len(found[-1]) + 1) > tokens:
            found.append([])
        found[-1].append(at)
    return found
