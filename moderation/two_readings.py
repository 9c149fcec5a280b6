"""Caches the two readings of each turn (as seen, and with obfuscation undone), and combines the verdicts on them."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

from moderation.context import TurnReading, text_key
from moderation.fair_slots import FairSlots
from moderation.lru_cache import LruCache
from moderation.readings.finished_blocks import FinishedBlocks
from moderation.readings.reading import neutralise, readings
from moderation.readings.words import known_words
from moderation.verdict import Severity, Verdict, worst

# A thousand characters take about a millisecond. Longer texts are read in a thread; between short ones, after this many
# characters, the event loop gets a turn.
_READ_AT_ONCE = 6_000
# Of a longer text, the hash takes a millisecond too.
_HASHED_AT_ONCE = 200_000
# Python's default is 5 ms.
_TURN_SECONDS = 0.0005
# The cache's size in characters (10 to 50 MB). The overhead of an entry counts as this many characters.
_CHARS_KEPT = 12_000_000
_ENTRY_CHARS = 300


class _Kept(NamedTuple):
    """A cached reading, without the original text, which the caller has."""

    seen: str | None
    """None if it equals the original text."""
    undone: str | None
    digest: bytes
    size: int


class Reader:
    """Computes the readings of turns and caches them. Use from one event loop.

    Args:
        undo: False for the visible reading only.
    """

    def __init__(self, *, undo: bool = True) -> None:
        self._undo = undo
        self._kept: LruCache[bytes, _Kept] = LruCache(_CHARS_KEPT, _weigh)
        self._read_since_pause = 0
        # One long text at a time: Python runs one thread at a time anyway, and the other threads get half of the time.
        self._long = FairSlots(1)

    @property
    def kept(self) -> int:
        """Characters in the cache."""
        return self._kept.weight

    async def read(self, text: str, finished: FinishedBlocks | None = None) -> TurnReading:
        """The readings of a text of any length; with `finished`, of one that grows.

        Raises:
            Crowded: too many long texts wait.
        """
        key = text_key(text) if len(text) <= _HASHED_AT_ONCE else await asyncio.to_thread(text_key, text)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = await self._read(key, text, finished)
        return _with_text(kept, text)

    async def _read(self, key: bytes, text: str, finished: FinishedBlocks | None) -> _Kept:
        # The first text unpacks the word list, which takes as long as many texts.
        if len(text) > _READ_AT_ONCE or (self._undo and not known_words.cache_info().currsize):
            async with self._long.slot(len(text)):
                return await asyncio.to_thread(self._read_with_pauses, key, text, finished)
        self._read_since_pause += len(text)
        if self._read_since_pause > _READ_AT_ONCE:
            self._read_since_pause = 0
            await asyncio.sleep(0)
        return self._read_now(key, text, finished)

    def _read_with_pauses(self, key: bytes, text: str, finished: FinishedBlocks | None) -> _Kept:
        with _quick_turns:
            return self._read_now(key, text, finished)

    def _read_now(self, key: bytes, text: str, finished: FinishedBlocks | None) -> _Kept:
        seen, undone = readings(text, finished) if self._undo else (neutralise(text, finished), None)
        size = len(seen.encode("utf-8", "surrogatepass"))
        same = seen == text
        return _Kept(None if same else seen, undone, key if same else text_key(seen), size)


class _QuickTurns:
    """Shortens Python's thread switch interval while readings run, so that the event loop waits a tenth as long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._busy:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(_TURN_SECONDS)
            self._busy += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._busy -= 1
            if not self._busy:
                sys.setswitchinterval(self._usual)


_quick_turns = _QuickTurns()


def worst_reading(found: Sequence[Verdict | BaseException]) -> Verdict:
    """The worst of the verdicts on the readings. If there are two, it names the reading that it is of.

    Raises:
        BaseException: the exception in `found`, unless the other reading is unsafe.
    """
    verdicts = [one if isinstance(one, Verdict) else Verdict.none(str(one)) for one in found]
    if len(verdicts) > 1:
        names = ("visible", "undone")
        verdicts = [one.model_copy(update={"reading": name}) for one, name in zip(verdicts, names, strict=True)]
    worse = worst(verdicts)
    for error in found:
        if isinstance(error, BaseException) and worse.severity is not Severity.UNSAFE:
            raise error
    return worse


def _with_text(kept: _Kept, text: str) -> TurnReading:
    return TurnReading(text if kept.seen is None else kept.seen, kept.undone, kept.digest, kept.size)


def _weigh(kept: _Kept) -> int:
    return _ENTRY_CHARS + len(kept.seen or "") + len(kept.undone or "")
