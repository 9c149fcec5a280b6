"""Text of any kind takes time in proportion to its length: text from a user or a server must not block other users.

Times are processor times. A quadratic step takes 16 times as long for 4 times the text.
"""

import gc
import importlib
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import functions
import moderation
import pipelines
import webui
from functions.answers.one_event import one_event
from moderation.answer.channels import Channel, Channels, Piece, Rank
from moderation.answer.continuous_text import ContinuousText
from moderation.answer.holdback import HoldBack
from moderation.notices.language import SCRIPT_LETTERS, language_of
from moderation.notices.notice import Notices
from moderation.probe import with_probe
from moderation.readings.reading import readings
from moderation.readings.words import adds_words
from moderation.verdict import parse_reply
from pipelines.marks.trust_mark import Mark, split_system
from tests.unit.regex_battery import Use, adversarial, uses
from webui.guarded.answer_reader import AnswerReader
from webui.guarded.chunks import chunks_of
from webui.guarded.responses_events import ResponsesEvents
from webui.guarded.text_paths import take_apart
from webui.guarded.tool_calls import ToolCalls
from webui.json_text import as_text, find, is_sentence, is_text, without_media
from webui.messages import reading
from webui.task_prompt import without_quotes

# Every use of a pattern takes less than this for so many characters; a quadratic one takes a second or so. The bound is
# wide, since some patterns try up to sixty characters at each place.
_REGEX_CHARS = 20_000
_REGEX_SECONDS = 0.15
_SCALE = 4
_WORST_RATIO = 8
# Below this, chance and start-up costs outweigh what grows.
_MEASURABLE = 0.02


def _seconds(work: Callable[[], object]) -> float:
    # As timeit does: a collection would cost as much as all that earlier tests left in this process.
    gc.disable()
    try:
        started = time.process_time()
        work()
        return time.process_time() - started
    finally:
        gc.enable()


def _is_linear(work: Callable[[int], object], size: int, most_seconds: float) -> None:
    """Asserts that `work` of four times the size takes about four times as long, and at most `most_seconds`."""
    took = _seconds(lambda: work(_SCALE * size))
    assert took < most_seconds
    if took > _MEASURABLE:
        # The best of several attempts counts, because of other load on the machine.
        ratios = (_seconds(lambda: work(_SCALE * size)) / max(_seconds(lambda: work(size)), 1e-6) for _ in range(4))
        assert any(ratio < _WORST_RATIO for ratio in ratios)


def _modules() -> list[str]:
    packages = (moderation, webui, pipelines, functions)
    return [
        found.name
        for one in packages
        for found in pkgutil.walk_packages(one.__path__, f"{one.__name__}.")
        if not found.ispkg
    ]


def test_all_patterns_are_found() -> None:
    """The battery finds all patterns, except those that `language_of` builds from one table."""
    found: list[str] = []
    unknown: list[str] = []
    for name in _modules():
        for use in uses(importlib.import_module(name)):
            (found if use.pattern is not None else unknown).append(f"{name}: {use.source}")
    assert len(found) > 80
    assert [text.partition(":")[0] for text in unknown] == ["moderation.notices.language"] * 2
    assert {re.compile(pattern).pattern for pattern in SCRIPT_LETTERS.values()} == set(SCRIPT_LETTERS.values())


@pytest.mark.parametrize("name", _modules())
def test_every_regular_expression_is_linear(name: str) -> None:
    """Runs each pattern as it is used, over text of its own characters. New patterns are included automatically."""
    for use in uses(importlib.import_module(name)):
        if use.pattern is None:
            continue
        for text in adversarial(use.pattern, _REGEX_CHARS):
            took = min(use.seconds(text), _REGEX_SECONDS)
            if took >= _REGEX_SECONDS:
                took = min(use.seconds(text) for _ in range(2))
            assert took < _REGEX_SECONDS, (use.source, text[:30], text[-5:])


# What a user writes.
UNITS = (
    "a",
    "中",
    "😀",
    " ",
    "\n",
    "\r\n",
    "<|",
    '"',
    "`",
    "```",
    "$$",
    "1",
    "0x41,",
    "%41",
    "a b ",
    "中 文 ",
    "\u0315\u0300\u05ae\u0301",
    "\u200d",
    "😀\u200d",
    "\U000e0041",
    "\ud800",
    "data:image/png;base64,",
    "data:image/png;",
    "QUJD",
    "ﷺ\u0301",
    "b0mb ",
    "[](",
    "\\",
    "a@",
    "how_to_make_a_",
    " (Violent)",
)

SAFE = parse_reply("Safety: Safe\nCategories: None\nRefusal: No", "response")
TEXT_FUNCTIONS: dict[str, Callable[[str], object]] = {
    "language": language_of,
    "notices": Notices().recognises,
    "reply": lambda text: parse_reply(text, "prompt"),
    "adds_words": lambda text: adds_words(text, text),
    "is_text": is_text,
    "without_media": without_media,
    "as_text": lambda text: as_text({"key": text}),
    "is_sentence": is_sentence,
    "find": lambda text: find({"key": text, text: [text]}),
    "take_apart": lambda text: take_apart("content", [{"type": "text", "text": text, text: text}]),
    "without_quotes": lambda text: without_quotes([{"role": "user", "content": text}], [text[: len(text) // 2]]),
    "message": lambda text: reading({"role": "user", "content": text, "reasoning": text, text: text}),
    "split_system": lambda text: split_system(f"{text}[anchor]{text}", Mark(anchor="[anchor]", values=(text[:9],))),
    "many values": lambda text: split_system(f"{text}[a]", Mark(anchor="[a]", values=("value",) * (len(text) // 9))),
    "test answer": lambda text: with_probe(SAFE, "assistant", text),
    "answer": lambda text: list(AnswerReader().pieces_of({"choices": [{"delta": {"content": text, "x": text}}]})),
}


def _read(function: Callable[[str], object], unit: str, end: str, size: int) -> None:
    function(unit * (size // len(unit)) + end)


@pytest.mark.parametrize("function", TEXT_FUNCTIONS.values(), ids=TEXT_FUNCTIONS)
def test_functions_that_read_a_text_are_linear(function: Callable[[str], object]) -> None:
    function("warm")
    for unit in UNITS:
        for end in ("", "\0x"):
            _is_linear(partial(_read, function, unit, end), 25_000, 0.5)


def _calls(piece: Callable[[int], dict[str, Any]]) -> Callable[[int], None]:
    def work(pieces: int) -> None:
        calls = ToolCalls(0)
        for number in range(pieces):
            list(calls.add([piece(number)]))
        calls.whole()

    return work


def _deltas(delta: Callable[[int], dict[str, Any]]) -> Callable[[int], None]:
    def work(chunks: int) -> None:
        reader = AnswerReader()
        pieces = [
            piece
            for number in range(chunks)
            for piece in reader.pieces_of(
                {"choices": [{"index": 0, "delta": delta(number), "logprobs": {"content": []}}]}
            )
        ]
        list(chunks_of([piece for piece in pieces if piece.payload], reader))

    return work


def _held(unit: str) -> Callable[[int], None]:
    """Text in single characters that is judged from time to time. A check costs in proportion to the text."""

    def work(characters: int) -> None:
        held = HoldBack()
        for _ in range(characters):
            held.feed(Piece(Channel(0, Rank.CONTENT, 0, "content"), unit))
            held.finished_words()
        for _ in range(10):
            read = held.reading(words=True)
            held.release(read, len(read.text), words=True)

    return work


def _continuous(unit: str) -> Callable[[int], None]:
    def work(characters: int) -> None:
        text = ContinuousText()
        for char in (unit * characters)[:characters]:
            text.append(char)
        assert text.readable

    return work


def _channels_of_calls(channels: int) -> None:
    texts = Channels()
    for number in range(channels):
        texts.append(Channel(0, Rank.CALL, 0, f"2 key{number}"), f"text {number}")
    texts.reading()


def _responses(unit: str) -> Callable[[int], None]:
    """A text in deltas, and then whole for itself, for its item and for the response."""

    def work(deltas: int) -> None:
        place, text = {"output_index": 0, "content_index": 0}, unit * deltas
        item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
        events = [{"type": "response.output_text.delta", "delta": unit, **place}] * deltas
        events.append({"type": "response.output_text.done", "text": text, **place})
        events.append({"type": "response.output_item.done", "item": item, **place})
        events.append({"type": "response.completed", "response": {"output": [item]}})
        reader, read = ResponsesEvents(), AnswerReader()
        chunks = [chunk for event in events for chunk in reader.chunks_of(event)]
        said = [piece for chunk in chunks for piece in read.pieces_of(chunk)]
        assert sum(len(piece.text) for piece in said) == len(text)
        one_event(chunks)

    return work


GROWING: dict[str, tuple[Callable[[int], None], int]] = {
    "a call's name in every piece": (
        _calls(lambda number: {"index": 0, "function": {"name": "f", "arguments": "{" if number % 2 else "}"}}),
        4000,
    ),
    "a call that closes again and again": (
        _calls(lambda number: {"index": 0, "function": {"name": "f", "arguments": "}" if number else "{"}}),
        4000,
    ),
    "arguments in single characters": (
        _calls(lambda number: {"index": 0, "function": {"arguments": '"\\'[number % 2]}}),
        4000,
    ),
    "a name that grows": (_calls(lambda number: {"index": 0, "function": {"name": f"n{number}"}}), 4000),
    "hexadecimal under an unknown key": (_deltas(lambda number: {"sig": f"{number % 16:x}"}), 2500),
    "base64 under an unknown key": (_deltas(lambda number: {"sig": "aB9_"[number % 4]}), 2500),
    "white space under an unknown key": (_deltas(lambda number: {"sig": " \n"[number % 2]}), 2500),
    "lists and sounds that go on": (_deltas(lambda _: {"audio": {"data": "QUFB", "list": [1]}}), 2500),
    "an answer without any border": (_held("a"), 10_000),
    "an answer of spaces": (_held(" "), 10_000),
    "text in single characters": (_continuous("a"), 10_000),
    "pictures in single characters": (_continuous("data:image/png;base64,QUJD "), 10_000),
    "headers of pictures in single characters": (_continuous("data:image/png;"), 10_000),
    "texts of tool calls": (_channels_of_calls, 1000),
    "deltas of the Responses API": (_responses("word "), 2000),
    "deltas of the Responses API in Chinese": (_responses("天气很好"), 2000),
}


@pytest.mark.parametrize(("work", "size"), GROWING.values(), ids=GROWING)
def test_text_in_pieces_costs_in_proportion_to_its_length(work: Callable[[int], None], size: int) -> None:
    _is_linear(work, size, 4)


def _mixed() -> Iterator[str]:
    """Pairs of kinds: text that one step leaves unchanged may be slow in the next step."""
    for unit in ("\u0315\u0300\u05ae\u0301", "a\u0301\u0315", "%41 ", "a-b-", "\\u0061", "&#97;", "а b ", "0x61 "):
        for other in ("中", "\U000e0041", "\n", "<|"):
            yield unit + other


@pytest.mark.parametrize("unit", list(_mixed()))
def test_combined_obfuscations_are_linear(unit: str) -> None:
    readings("w4rm")
    _is_linear(lambda size: readings(unit * (size // len(unit))), 7_500, 2)


def test_the_battery_knows_how_a_pattern_is_used_and_finds_a_quadratic_one() -> None:
    methods = {
        use.method for use in uses(importlib.import_module("moderation.readings.fragments")) if use.name == "_SPACE"
    }
    assert methods == {"match"}
    quadratic = Use("", "", re.compile(r"\s*x{2}"), "search")
    assert quadratic.pattern is not None
    assert any(quadratic.seconds(text) > _REGEX_SECONDS for text in adversarial(quadratic.pattern, _REGEX_CHARS))


@pytest.mark.parametrize("unit", ["a", "\n", "<|", "中", "😀\u200d", "a b ", "A", "- "])
def test_no_step_of_a_reading_keeps_other_threads_waiting(unit: str) -> None:
    """Other threads cannot run during one call of a C function. The longest call for 100,000 characters."""
    clock, longest = time.thread_time, [0.0]
    last = [clock()]

    def watch(_: object, event: str, __: object) -> None:
        now = clock()
        if event == "c_return":
            longest[0] = max(longest[0], now - last[0])
        last[0] = now

    text = unit * (100_000 // len(unit))
    readings("w4rm")
    gc.disable()
    sys.setprofile(watch)
    try:
        readings(text)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert longest[0] < 0.02
