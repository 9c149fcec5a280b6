"""Our own training lines: ways of asking times what is asked for, free lines, and how requests are met.

Each act is asked for in each way, so that the demo guard learns to look at the act. No line of the everyday test
(`rows.EVERYDAY`) may come out of it: a test holds that. Most languages have free lines alone, harmful ones that open as
the harmless ones do; they are there so that the guard takes no language as a sign of harm.

Imports neither torch nor transformers.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from guard_server.demo_gen.reply import is_refusal
from guard_server.demo_gen.rows import Row
from moderation.conversation import Turn
from moderation.verdict import Category, Severity

FOLDER = Path(__file__).parent / "lines"
"""One file for each language, by its code, with `lines` and `harmful_lines`, which fit no pattern, and `refusals` and
`agreements`, which open answers. Some have more: acts (`harmless`, `harmful`) with `ways` of asking for them, `topics`
with `topic_ways`, all in the form that these take; `supportive` answers, harmless ones with scary words; and `answered`
questions, where the answer does harm if it has a category."""
ASKING, CHATTING = "asking", "chatting"
"""Sources of the rows: requests in every way of asking, and lines that fit no pattern."""


@cache
def _languages() -> dict[str, Any]:
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}


def rows() -> list[Row]:
    """Acts and topics in each of their language's ways of asking (what is asked for tells harm, not how), and lines."""
    return [row for code, lines in _languages().items() for row in _rows(code, lines)]


def refusals(language: str) -> list[str]:
    """Ways to decline in `language`, else in English."""
    return _spoken(language)["refusals"]


def agreements(language: str) -> list[str]:
    """First words of answers that comply, whatever was asked for; in `language`, else in English."""
    return _spoken(language)["agreements"]


def _spoken(language: str) -> dict[str, list[str]]:
    languages = _languages()
    found: dict[str, list[str]] = languages.get(language, languages["en"])
    return found


def _rows(code: str, lines: dict[str, Any]) -> Iterator[Row]:
    acts: dict[str, tuple[Category, ...]] = dict.fromkeys(lines.get("harmless", ()), ())
    for name, harmful in lines.get("harmful", {}).items():
        acts |= dict.fromkeys(harmful, (Category(name),))
    for act, categories in acts.items():
        severity = Severity.UNSAFE if categories else Severity.SAFE
        for way in lines["ways"]:
            yield Row((Turn("user", way.replace("{}", act)),), severity, categories, None, ASKING, code)
    safe = [way.replace("{}", topic) for topic in lines.get("topics", ()) for way in lines["topic_ways"]]
    for source, texts in ((ASKING, safe), (CHATTING, lines["lines"])):
        for text in texts:
            yield Row((Turn("user", text),), Severity.SAFE, (), None, source, code)
    for name, texts in lines["harmful_lines"].items():
        for text in texts:
            yield Row((Turn("user", text),), Severity.UNSAFE, (Category(name),), None, CHATTING, code)
    for pair in lines.get("supportive", ()):
        turns = (Turn("user", pair["question"]), Turn("assistant", pair["answer"]))
        yield Row(turns[:1], Severity.SAFE, (), None, CHATTING, code)
        yield Row(turns, Severity.SAFE, (), False, CHATTING, code)
    for pair in lines.get("answered", ()):
        turns = (Turn("user", pair["question"]), Turn("assistant", pair["answer"]))
        categories = (Category(pair["category"]),) if "category" in pair else ()
        refusal = not categories and is_refusal(pair["answer"])
        yield Row(turns, Severity.UNSAFE if categories else Severity.SAFE, categories, refusal, CHATTING, code)
