"""A model server's answer, chunk by chunk, taken apart into the texts that must be judged and what holds no words.

Shapes: OpenAI's `chat.completion.chunk`, and what Azure, vLLM, OpenRouter, LiteLLM, Ollama, Perplexity, DeepSeek,
Mistral and Gemini add to it. A whole `chat.completion` is read in the same way.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from moderation.answer.channels import Channel, Piece, Rank
from webui.bodies import Body, listed, object_or_empty, objects_in
from webui.guarded.choice import (
    CONTENT_KEYS,
    REASONING_KEYS,
    finish_reason,
    is_wordless,
    part_said,
    whole_said,
    without_text,
)
from webui.guarded.text_paths import TextPath, name_of, rebuilt, take_apart
from webui.guarded.tool_calls import ToolCall, ToolCalls, TooManyCalls
from webui.guarded.usual_chunk import UsualChunk, usual_chunk
from webui.json_text import PROSE_KEYS, find, is_text

# What every chunk of one answer repeats.
_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
# What may be next to the choices. Everything else is dropped: Open WebUI acts on keys such as `event`, `sources`,
# `output` and `type` there (its utils/middleware.py), and may act on others tomorrow.
_FIGURES = ("usage", "timings")
_SOURCES = ("citations", "search_results", "related_questions")
# Lists whose items are whole things, one after another, and no parts of one text.
_WHOLE_ITEMS = frozenset(("annotations", "citations", "images", "files", "attachments", "search_results", "videos"))
# The keys of pictures and sound in an answer.
_MEDIA = {"images": "image", "audio": "audio", "videos": "video", "files": "file", "attachments": "file"}
# More texts than any answer has; each is compared with the others.
_MOST_TEXTS = 64
# About a million words.
_MOST_CHARS = 8 * 1024 * 1024
# Of a label that grows: so many characters, with what comes next, are enough to tell it from words.
_LABEL_CHARS = 2048
# More channels than any answer has, tool calls included; those without calls are compared with each other.
_MOST_CHANNELS = 512
# No answer nests deeper, and each level costs a call.
_DEEPEST = 48
_HOLDERS = (dict, list)


class AnswerUnreadable(Exception):
    """An answer that cannot be judged because of its shape or size; the text says why, for users."""


class _Label(NamedTuple):
    """A text under an unknown key that is a label so far: an id, a severity, encrypted thoughts."""

    head: str
    """Its beginning."""
    only: str | None
    """All of it where it came in one part, which some servers repeat in every chunk."""


class AnswerReader:
    """Reads one answer, and says parts of it again at their own places."""

    def __init__(self) -> None:
        self.envelope: Body = {}
        """What every chunk of the answer repeats."""
        self.finish: dict[int, str] = {}
        """The finish reason of each choice that has one."""
        self.media: dict[str, None] = {}
        """Kinds of parts that nobody can judge: image, audio, video, file."""
        self.has_choices = False
        """Whether any chunk had the shape of a chat completion."""
        self._top_level: Body = {}
        self._calls: dict[int, ToolCalls] = {}
        self._function_calls: dict[int, ToolCall] = {}
        self._places: dict[Channel, TextPath] = {}
        # Of texts under unknown keys; None once they are words.
        self._labels: dict[Channel, _Label | None] = {}
        self._cumulative: dict[Channel, str] = {}
        self._items: dict[tuple[int, str], Any] = {}
        # The keys of each choice that came in deltas.
        self._spoke: set[tuple[int, str]] = set()
        self._channels: set[Channel] = set()
        self._chars = 0
        self._usual: UsualChunk | None = None

    def pieces_of(self, chunk: Body) -> Iterator[Piece]:
        """What a chunk adds to the answer.

        Raises:
            AnswerUnreadable
        """
        pieces = self._usual.pieces_of(chunk) if self._usual else None
        if pieces is not None:
            yield from map(self._counted, pieces)
            return
        taken: list[Piece] = []
        for piece in self._pieces_taken_apart(chunk):
            taken.append(piece)
            yield piece
        self._usual = usual_chunk(chunk, taken)

    def _counted(self, piece: Piece) -> Piece:
        if piece.channel is not None:
            self._channels.add(piece.channel)
        if len(self._channels) > _MOST_CHANNELS:
            raise AnswerUnreadable("The model server's answer has more parts than can be judged.")
        self._chars += len(piece.text)
        if self._chars > _MOST_CHARS:
            raise AnswerUnreadable("The model server's answer is too long to be judged.")
        return piece

    def _pieces_taken_apart(self, chunk: Body) -> Iterator[Piece]:
        if _is_deep(chunk):
            raise AnswerUnreadable("The model server's answer is nested too deeply to be judged.")
        for key in _ENVELOPE:
            value = chunk.get(key)
            if key not in self.envelope and isinstance(value, str | int) and not find({key: value}).texts:
                self.envelope[key] = value
        self._top_level |= {key: chunk[key] for key in (*_FIGURES, *_SOURCES) if chunk.get(key) is not None}
        for position, choice in enumerate(objects_in(chunk.get("choices"))):
            self.has_choices = True
            number = choice.get("index")
            try:
                found = self._pieces_of_choice(choice, number if isinstance(number, int) else position)
                yield from map(self._counted, found)
            except TooManyCalls:
                raise AnswerUnreadable("The model server's answer has more tool calls than can be judged.") from None

    def pieces_at_end(self) -> Iterator[Piece]:
        """What is of use only with the whole answer: tool calls, finish reasons, sources and figures."""
        for number in sorted({*self._calls, *self._function_calls}):
            yield Piece(payload={"choice": number, "delta": self.calls_of(number)})
        for number, reason in self.finish.items():
            yield Piece(payload={"choice": number, "finish_reason": reason})
        for key, value in self.sources.items():
            yield from (Piece(Channel(0, Rank.ASIDE, 0, key), f"{text}\n") for text in find({key: value}).texts)
        if top_level := self.figures | self.sources:
            yield Piece(payload={"top_level": top_level})

    def calls_of(self, number: int) -> Body:
        """The calls of one choice as they were judged, each whole, under the keys of a delta."""
        calls: Body = {}
        if number in self._calls:
            calls["tool_calls"] = self._calls[number].whole()
        if number in self._function_calls:
            calls["function_call"] = self._function_calls[number].whole()["function"]
        return calls

    @property
    def figures(self) -> Body:
        """Usage and timings. They hold no words, and words that are put among them are not passed on."""
        found = {key: value for key, value in self._top_level.items() if key in _FIGURES}
        return {key: value for key, value in found.items() if is_wordless(find({key: value}))}

    @property
    def sources(self) -> Body:
        """Citations and the like, whose words are judged with the first choice; without those that hold pictures."""
        found = {key: value for key, value in self._top_level.items() if key in _SOURCES}
        return {key: value for key, value in found.items() if not find(value).media}

    def delta_of(self, piece: Piece) -> Body:
        """The delta that says a text piece again."""
        assert piece.channel is not None
        return object_or_empty(rebuilt(self._places[piece.channel], piece.text))

    def _pieces_of_choice(self, choice: Body, number: int) -> Iterator[Piece]:
        part, whole = part_said(choice), whole_said(choice)
        self._spoke.update((number, key) for key in part)
        # The answer so far, or all of it at once. What comes in deltas, it only repeats.
        new = {key: value for key, value in whole.items() if (number, key) not in self._spoke}
        for said, cumulative in ((part, False), (new, True)):
            for key, value in said.items():
                yield from self._pieces_of_value(number, key, value, cumulative=cumulative)
        if reason := finish_reason(choice):
            self.finish[number] = reason
        if extras := without_text(choice, {**new, **part}):
            yield Piece(payload={"choice": number, "extras": extras})

    def _pieces_of_value(self, number: int, key: str, value: Any, *, cumulative: bool) -> Iterator[Piece]:
        if is_text(key):
            yield Piece(Channel(number, Rank.ASIDE, 0, "keys"), f"{key}\n")
        if key == "tool_calls":
            yield from self._called(number, list(objects_in(listed(value))), cumulative=cumulative)
        elif key == "function_call":
            call = self._function_calls.setdefault(number, ToolCall(number, -1, "function"))
            yield from call.add({"function": value})
        elif key in _WHOLE_ITEMS:
            yield from self._whole_items(number, key, value)
        else:
            yield from self._grown(number, key, value, cumulative=cumulative)

    def _called(self, number: int, pieces: list[Body], *, cumulative: bool) -> Iterator[Piece]:
        if cumulative:
            # All calls so far are repeated each time; a repetition says nothing new.
            if self._items.get((number, "tool_calls")) == pieces:
                return
            self._items[number, "tool_calls"] = pieces
            self._calls.pop(number, None)
            pieces = [{"index": place, **piece} for place, piece in enumerate(pieces)]
        yield from self._calls.setdefault(number, ToolCalls(number)).add(pieces)

    def _whole_items(self, number: int, key: str, value: Any) -> Iterator[Piece]:
        # Some servers repeat the list in every chunk.
        if self._items.get((number, key)) == value:
            return
        self._items[number, key] = value
        self.media |= {_MEDIA[key]: None} if key in _MEDIA else dict.fromkeys(find(value).media)
        for text in find({key: value}).texts:
            yield Piece(Channel(number, Rank.ASIDE, 0, key), f"{text}\n")
        yield Piece(payload={"choice": number, "delta": {key: value}})

    def _grown(self, number: int, key: str, value: Any, *, cumulative: bool) -> Iterator[Piece]:
        """Texts at any depth of a value, each of which goes on where it stood in the chunks before."""
        leaves = take_apart(key, value)
        self.media |= leaves.media
        if key in _MEDIA and leaves.matters:
            self.media[_MEDIA[key]] = None
        for words in leaves.keys:
            yield Piece(Channel(number, Rank.ASIDE, 0, key), f"{words}\n")
        for path, text in leaves.texts:
            yield from self._text(number, path, text, cumulative=cumulative)
        if leaves.matters and leaves.rest not in (None, {}, []):
            yield Piece(payload={"choice": number, "delta": {key: leaves.rest}})

    def _text(self, number: int, path: TextPath, text: str, *, cumulative: bool) -> Iterator[Piece]:
        channel = Channel(number, _rank_of(path), 0, name_of(path))
        if channel not in self._places and len(self._places) == _MOST_TEXTS:
            raise AnswerUnreadable("The model server's answer has more parts than can be judged.")
        self._places[channel] = path
        if cumulative:
            before, self._cumulative[channel] = self._cumulative.get(channel, ""), text
            text = text.removeprefix(before)
        if channel.rank is Rank.OTHER and path[-1].key not in PROSE_KEYS:
            label = self._labels.get(channel, _Label("", None))
            if label is not None and label.only == text:
                return
            if label is not None:
                grown = label.head + text
                self._labels[channel] = (
                    None if is_text(grown) else _Label(grown[:_LABEL_CHARS], None if label.head else text)
                )
        if text:
            yield Piece(channel, text, is_label=self._labels.get(channel) is not None)


def _rank_of(path: TextPath) -> Rank:
    keys = {step.key for step in path}
    if keys & REASONING_KEYS:
        return Rank.REASONING
    return Rank.CONTENT if path[0].key in CONTENT_KEYS else Rank.OTHER


def _is_deep(holder: Any, levels: int = _DEEPEST) -> bool:
    for inner in holder.values() if isinstance(holder, dict) else holder:
        if isinstance(inner, _HOLDERS) and (levels == 0 or _is_deep(inner, levels - 1)):
            return True
    return False
