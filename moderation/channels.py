"""The texts of one answer as a guard reads them: each channel is one continuous text, said once.

Servers repeat themselves (vLLM sends the reasoning under two keys, OpenRouter as a list of objects too), and send the
parts of several texts in turn. A guard that sees an answer in pieces sees no sentence.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from moderation.continuous_text import ContinuousText


class Rank(IntEnum):
    """Kinds of channels, in the order in which a guard reads them."""

    REASONING = 0
    CONTENT = 1
    OTHER = 2
    CALL = 3
    """Name and arguments of a tool call: of use only in whole, so its text is judged and not given out by itself."""
    ASIDE = 4
    """Text that goes out inside a payload, such as the titles of sources."""


class Channel(NamedTuple):
    """Where a text belongs. Channels sort in the order in which they are read."""

    choice: int
    rank: Rank
    place: int
    """Of a tool call, which one; else 0."""
    key: str
    """Names the text within its kind."""

    @property
    def given_out(self) -> bool:
        """Whether its text is given out as it is cleared."""
        return self.rank < Rank.CALL


class Piece(NamedTuple):
    """A part of an answer as the upstream sent it."""

    channel: Channel | None = None
    text: str = ""
    payload: Any = None
    """What is given out undivided, once all text that came before it is out; it has no channel."""
    is_label: bool = False
    """Whether all of the channel's text so far is a label (an id, a severity): not read, and kept to the end."""


class Span(NamedTuple):
    """Where the text of some channels stands in a reading: of several, if they say the same."""

    start: int
    length: int
    channels: tuple[tuple[Channel, int], ...]
    """Each with the number of its readable characters up to here."""


class Reading(NamedTuple):
    """What a guard is to read of an answer at one moment."""

    text: str
    spans: tuple[Span, ...]
    arrived: int
    """Characters of the answer that it takes account of."""


class Channels:
    """All texts of one answer.

    Args:
        pictures: whether pictures inside a text may be given out.
    """

    def __init__(self, *, pictures: bool = True) -> None:
        self._pictures = pictures
        self._texts: dict[Channel, ContinuousText] = {}
        self._labels: set[Channel] = set()
        self._newest: Channel | None = None
        self.arrived = 0
        """Characters that arrived in all channels, pictures included."""

    def append(self, channel: Channel, text: str, *, is_label: bool = False) -> None:
        """Add the next part of one channel's text."""
        held = self._texts.get(channel)
        if held is None:
            held = self._texts[channel] = ContinuousText(pictures=self._pictures)
        held.append(text)
        if is_label:
            self._labels.add(channel)
        else:
            self._labels.discard(channel)
            self._newest = channel
        self.arrived += len(text)

    @property
    def media(self) -> list[str]:
        """Kinds of pictures and sound inside the texts."""
        return list(dict.fromkeys(kind for text in self._texts.values() for kind in text.media))

    def newest_tail(self) -> str:
        """The last characters of the text that grew last."""
        return self._texts[self._newest].tail if self._newest else ""

    def items(self, *, labels: bool) -> Iterator[tuple[Channel, ContinuousText]]:
        """Channels in the order in which they are read."""
        for channel in sorted(self._texts):
            if labels or channel not in self._labels:
                yield channel, self._texts[channel]

    def reading(self, unfinished: int = 0) -> Reading:
        """What is to be read now.

        Args:
            unfinished: so many characters at the end of the text that grew last are left for the next reading.
        """
        spans: list[Span] = []
        parts: list[str] = []
        before: Channel | None = None
        at = 0
        for channels in self._said_once():
            first, held = channels[0]
            length = held.readable_length
            if any(channel == self._newest for channel, _ in channels):
                length = max(0, length - unfinished)
            if before is not None:
                # The arguments of a call belong to its name.
                parts.append(" " if first.rank is Rank.CALL and before[:3] == first[:3] else "\n")
                at += 1
            parts.append(held.readable[:length])
            ends = tuple((channel, min(length, said.readable_length)) for channel, said in channels)
            spans.append(Span(at, length, ends))
            at += length
            before = first
        return Reading("".join(parts), tuple(spans), self.arrived - unfinished)

    def _said_once(self) -> list[list[tuple[Channel, ContinuousText]]]:
        """Channels with text, those together that say the same: the longest first, then those that it begins with."""
        groups: list[list[tuple[Channel, ContinuousText]]] = []
        found = [(channel, text) for channel, text in self.items(labels=False) if text.readable_length]
        for channel, text in sorted(found, key=lambda item: -item[1].readable_length):
            same = next((group for group in groups if _repeats(channel, text, *group[0])), None)
            if same is not None:
                same.append((channel, text))
            else:
                groups.append([(channel, text)])
        return sorted(groups, key=lambda group: group[0][0])


def _repeats(channel: Channel, text: ContinuousText, other: Channel, longer: ContinuousText) -> bool:
    if Rank.CALL in (channel.rank, other.rank) or channel.choice != other.choice:
        return False
    return longer.readable.startswith(text.readable)
