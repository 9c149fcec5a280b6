"""The verdict over both readings of a turn: what its reader sees, and what it says without disguise."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

from moderation.conversation import Conversation, Turn
from moderation.readings import neutralise, readings
from moderation.verdict import Verdict, worst
from moderation.words import known_words

# A millisecond or so a thousand characters: more than a few of them keep nobody else waiting.
_READ_AT_ONCE = 6_000
# Second readings remembered, by the hash of their text, and the longest of them: some 30 MB at most.
_READINGS_KEPT = 10_000
_LONGEST_KEPT = 1_500


class Reader:
    """Reads turns, and remembers which of them have a second reading. To be used from one event loop.

    Args:
        undo: False for the first reading alone.
    """

    def __init__(self, *, undo: bool = True) -> None:
        self._undo = undo
        self._second: dict[bytes, str | None] = {}

    async def read(self, conversation: Conversation) -> list[Conversation]:
        """The conversation as a guard is asked for it: once, and once more if its last turn has a second reading."""
        known = self.known(conversation)
        if known is not None:
            return known
        text = conversation[-1].text
        # The words are unpacked with the first text, which takes as long as many texts.
        if len(text) > _READ_AT_ONCE or not known_words.cache_info().currsize:
            seen, undone = await asyncio.to_thread(readings, text)
        else:
            seen, undone = readings(text)
        if undone is None or len(undone) <= _LONGEST_KEPT:
            while len(self._second) >= _READINGS_KEPT:
                del self._second[next(iter(self._second))]
            self._second[_hash(text)] = undone
        return _conversations_read(conversation, seen, undone)

    def known(self, conversation: Conversation) -> list[Conversation] | None:
        """What `read` gives, for a last turn that was read before; else None."""
        text = conversation[-1].text
        if not self._undo:
            return _conversations_read(conversation, neutralise(text), None)
        key = _hash(text)
        if key not in self._second:
            return None
        self._second[key] = self._second.pop(key)
        return _conversations_read(conversation, neutralise(text), self._second[key])


async def worst_of_readings(
    conversations: Sequence[Conversation], judge: Callable[[Conversation], Awaitable[Verdict]]
) -> Verdict:
    """The worse verdict of those on the readings, which are judged at the same time.

    Args:
        conversations: as `Reader.read` gives them.
        judge: gives one conversation's verdict.
    """
    return worst_reading(list(await asyncio.gather(*map(judge, conversations))))


def worst_reading(verdicts: Sequence[Verdict]) -> Verdict:
    """The worse of the verdicts on the readings, which says which one it is of if there are two."""
    if len(verdicts) == 1:
        return verdicts[0]
    visible, undone = verdicts
    return worst([visible.model_copy(update={"reading": "visible"}), undone.model_copy(update={"reading": "undone"})])


def _conversations_read(conversation: Conversation, seen: str, undone: str | None) -> list[Conversation]:
    context = [Turn(turn.role, neutralise(turn.text)) for turn in conversation[:-1]]
    texts = [seen] if undone is None else [seen, undone]
    return [[*context, Turn(conversation[-1].role, text)] for text in texts]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
