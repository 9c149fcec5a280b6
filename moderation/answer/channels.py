"""The texts of one answer as a guard reads them: each channel is one continuous text, without repetitions.

Some servers send a text twice (vLLM sends the reasoning under two keys, OpenRouter also as a list of objects), or
alternate between the parts of several texts. A guard cannot judge sentences that it only gets in pieces.
"""

from collections import defaultdict
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from moderation.answer.continuous_text import ContinuousText


class Rank(IntEnum):
    """Kinds of channels, in the order in which a guard reads them."""

    REASONING = 0
    CONTENT = 1
    OTHER = 2
    CALL = 3
    """Name and arguments of a tool call. The text is judged; it is emitted only as part of the complete call."""
    ASIDE = 4
    """Text that is emitted inside a payload, such as the titles of sources."""


class Channel(NamedTuple):
    """Identifies one text of an answer. Channels sort in the order in which they are read."""

    choice: int
    rank: Rank
    place: int
    """Index of the tool call; else 0."""
    key: str
    """Name of the text within its rank."""

    @property
    def released(self) -> bool:
        """Whether its text is emitted as soon as it is cleared."""
        return self.rank < Rank.CALL


class Piece(NamedTuple):
    """A part of an answer as the upstream sent it."""

    channel: Channel | None = None
    text: str = ""
    payload: Any = None
    """Emitted as a whole, after all text that arrived before it. Only in a piece without a channel."""
    is_label: bool = False
    """Whether all of the channel's text so far is a label (an id, a severity): not judged, and emitted at the end."""


class Span(NamedTuple):
    """A part of a reading: the text of one channel, or of several channels with the same text."""

    start: int
    length: int
    channels: tuple[tuple[Channel, int], ...]
    """Each with the number of its readable characters in this span."""


class Reading(NamedTuple):
    """The text of an answer for one check."""

    text: str
    spans: tuple[Span, ...]
    arrived: int
    """Number of characters of the answer that it covers."""


class Channels:
    """All texts of one answer.

    Args:
        pictures: whether pictures inside a text may be emitted.
    """

    def __init__(self, *, pictures: bool = True) -> None:
        self._pictures = pictures
        self._texts: dict[Channel, ContinuousText] = {}
        self._labels: set[Channel] = set()
        self._newest: Channel | None = None
        self.arrived = 0
        """Characters that arrived in all channels, pictures included."""
        self.media: dict[str, None] = {}
        """Kinds of pictures and sound inside the texts."""

    def append(self, channel: Channel, text: str, *, is_label: bool = False) -> None:
        """Add the next part of one channel's text."""
        held = self._texts.get(channel)
        if held is None:
            held = self._texts[channel] = ContinuousText(pictures=self._pictures)
        held.append(text)
        if held.media:
            self.media |= held.media
        if is_label:
            self._labels.add(channel)
        else:
            self._labels.discard(channel)
            self._newest = channel
        self.arrived += len(text)

    def newest_tail(self) -> str:
        """The last characters of the channel that got text last."""
        return self._texts[self._newest].tail if self._newest else ""

    def items(self, *, labels: bool) -> Iterator[tuple[Channel, ContinuousText]]:
        """Channels in the order in which they are read."""
        for channel in sorted(self._texts):
            if labels or channel not in self._labels:
                yield channel, self._texts[channel]

    def reading(self, unfinished: int = 0) -> Reading:
        """The text to judge now.

        Args:
            unfinished: leave out this many characters at the end of the channel that got text last.
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
                # The arguments of a call follow its name on the same line.
                parts.append(" " if first.rank is Rank.CALL and before[:3] == first[:3] else "\n")
                at += 1
            parts.append(held.readable[:length])
            ends = tuple((channel, min(length, said.readable_length)) for channel, said in channels)
            spans.append(Span(at, length, ends))
            at += length
            before = first
        return Reading("".join(parts), tuple(spans), self.arrived - unfinished)

    def _said_once(self) -> list[list[tuple[Channel, ContinuousText]]]:
        """Channels with text, grouped: the longest first in each group, then those whose text is a prefix of it."""
        groups: list[list[tuple[Channel, ContinuousText]]] = []
        found = [(channel, text) for channel, text in self.items(labels=False) if text.readable_length]
        compared: dict[int, list[list[tuple[Channel, ContinuousText]]]] = defaultdict(list)
        for channel, text in sorted(found, key=lambda item: -item[1].readable_length):
            # A tool call never counts as a repetition.
            others = compared[channel.choice] if channel.rank is not Rank.CALL else []
            same = next((group for group in others if _repeats(text, group[0][1])), None)
            if same is not None:
                same.append((channel, text))
            else:
                groups.append([(channel, text)])
                if channel.rank is not Rank.CALL:
                    others.append(groups[-1])
        return sorted(groups, key=lambda group: group[0][0])


def _repeats(text: ContinuousText, longer: ContinuousText) -> bool:
    return longer.readable.startswith(text.readable)
