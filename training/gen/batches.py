"""Groups sequences into batches of similar length. Imports no third-party package."""

from collections.abc import Sequence


def batches(sequences: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Indexes of the sequences, grouped by similar length. Each batch has at most `tokens` tokens with padding."""
    found: list[list[int]] = []
    for at in sorted(range(len(sequences)), key=lambda at: -len(sequences[at])):
        if not found or len(sequences[found[-1][0]]) * (len(found[-1]) + 1) > tokens:
            found.append([])
        found[-1].append(at)
    return found
