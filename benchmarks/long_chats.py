"""Long, harmless chats in three languages, made of this repository's lines in these languages."""

import random
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any

from demo.state import ROOT

LANGUAGES = {"English": "en", "German": "de", "Chinese": "zh"}
TURN_CHARS = 1000
# Makes the texts of each run different.
_RUN = random.randrange(10**6)
_NUMBERS = count()

Message = dict[str, Any]


class Chat:
    """A chat that grows turn by turn; the user begins. The same `number` gives the same chat within a run."""

    def __init__(self, language: str, number: int, chars: int = TURN_CHARS) -> None:
        self._language, self._number, self._chars = language, number, chars
        self._turns: list[Message] = []

    def turns(self, wanted: int) -> list[Message]:
        """The first `wanted` turns."""
        while len(self._turns) < wanted:
            place = len(self._turns)
            key = f"{_RUN}.{self._number}.{place}"
            self._turns.append(message(place, text(self._language, key, self._chars)))
        return self._turns[:wanted]

    def with_newest(self, turns: int) -> list[Message]:
        """At most `turns` turns. The last one is a new turn of the user."""
        before = turns - 1 - (turns - 1) % 2
        return [*self.turns(before), message(before, new_text(self._language, self._chars))]


def message(place: int, said: str) -> Message:
    role = "assistant" if place % 2 else "user"
    return {"id": f"m{place}", "role": role, "content": said}


def new_text(language: str, chars: int = TURN_CHARS) -> str:
    """A text that is in no chat yet."""
    return text(language, f"{_RUN}:{next(_NUMBERS)}", chars)


def text(language: str, key: str, chars: int) -> str:
    """`key`, then lines in random order. Different keys give different texts, the same key the same text."""
    said = f"{key} {' '.join(_shuffled(language, key, chars))}"
    return said[:chars]


def _shuffled(language: str, key: str, chars: int) -> Iterator[str]:
    draw, size = random.Random(key), 0
    while size < chars:
        line = draw.choice(_lines(language))
        size += len(line) + 1
        yield line


@cache
def _lines(language: str) -> list[str]:
    path = ROOT / f"training/gen/lines/{LANGUAGES[language]}.toml"
    return list(tomllib.loads(path.read_text(encoding="utf-8"))["lines"])


def adversarial_prompts(chars: int) -> dict[str, str]:
    """Prompts of `chars` characters that are slow to process for naive code. Each has a unique beginning."""
    kinds = {
        "combining marks": "a" + "\u0315\u0300\u05ae\u0301" * (chars // 4),
        "split letters": "w o r d s " * (chars // 10),
        "invisible": "wo\u200b\u034frd\u2060s " * (chars // 9),
        "base64": "d29yZHMgYW5kIHdvcmRz" * (chars // 20),
        "escapes": "%77%6f&#114;&#100;" * (chars // 18),
        "look-alikes": "wоrdѕ \uff57\uff4f\uff52\uff44 " * (chars // 11),
        "line breaks": "\r\n\x85\u2028" * (chars // 4),
        "one character": "a" * chars,
        "Chinese": text("Chinese", f"{_RUN}", chars),
    }
    return {kind: f"{_RUN}:{next(_NUMBERS)} {said}"[:chars] for kind, said in kinds.items()}
