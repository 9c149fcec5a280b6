"""A text that grows is read in blocks. Nothing changes in the blocks before its last one, so they are read once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_Made = TypeVar("_Made")


class FinishedBlocks:
    """What was made of the finished blocks of one text, when it was read last."""

    def __init__(self) -> None:
        self._results: dict[Callable[[str], Any], dict[str, Any]] = {}

    def each(self, work: Callable[[str], _Made], blocks: Sequence[str]) -> list[_Made]:
        """What `work` makes of each block, done anew only for the last one and for those that are new."""
        before, finished = self._results.get(work, {}), blocks[:-1]
        results = {block: before[block] if block in before else work(block) for block in finished}
        # Replaced as a whole: the thread of a check that was given up may still be reading.
        self._results[work] = results
        return [*(results[block] for block in finished), *map(work, blocks[-1:])]
