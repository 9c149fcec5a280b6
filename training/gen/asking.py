"""Our own training lines: each way of asking combined with each act, free lines, and openings of answers.

Each act is asked for in each way, so that the demo guard learns to look at the act. No line of the everyday test
(`training_rows.EVERYDAY`) may be among them; a test checks this. Most languages have free lines only, with harmful
lines that begin like the harmless ones, so that the guard does not treat a language as a sign of harm.

Imports neither torch nor transformers.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from moderation.conversation import Turn
from moderation.verdict import Category, Severity
from training.gen.label_reply import is_refusal
from training.gen.training_rows import TrainingRow

FOLDER = Path(__file__).parent / "lines"
"""One file per language, named by its code, with free lines (`lines`, `harmful_lines`) and openings of answers
(`refusals`, `agreements`). Some have more: acts (`harmless`, `harmful`) with `ways` of asking for them; `topics` with
`topic_ways`; `supportive` answers, harmless ones with alarming words; and `answered` questions, whose answer is harmful
if it has a category."""
ASKING, CHATTING = "asking", "chatting"
"""Sources of the rows: acts and topics in each way of asking, and free lines."""


@cache
def _languages() -> dict[str, Any]:
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}


def rows() -> list[TrainingRow]:
    """Acts and topics in each way of asking of their language, and free lines. The act decides the label."""
    return [row for code, lines in _languages().items() for row in _rows(code, lines)]


def refusals(language: str) -> list[str]:
    """Openings of refusals in `language`, else in English."""
    return _spoken(language)["refusals"]


def agreements(language: str) -> list[str]:
    """Openings of answers that comply with any request, in `language`, else in English."""
    return _spoken(language)["agreements"]


def _spoken(language: str) -> dict[str, list[str]]:
    languages = _languages()
    found: dict[str, list[str]] = languages.get(language, languages["en"])
    return found


def _rows(code: str, lines: dict[str, Any]) -> Iterator[TrainingRow]:
    acts: dict[str, tuple[Category, ...]] = dict.fromkeys(lines.get("harmless", ()), ())
    for name, harmful in lines.get("harmful", {}).items():
        acts |= dict.fromkeys(harmful, (Category(name),))
    for act, categories in acts.items():
        severity = Severity.UNSAFE if categories else Severity.SAFE
        for way in lines["ways"]:
            yield TrainingRow((Turn("user", way.replace("{}", act)),), severity, categories, None, ASKING, code)
    safe = [way.replace("{}", topic) for topic in lines.get("topics", ()) for way in lines["topic_ways"]]
    for source, texts in ((ASKING, safe), (CHATTING, lines["lines"])):
        for text in texts:
            yield TrainingRow((Turn("user", text),), Severity.SAFE, (), None, source, code)
    for name, texts in lines["harmful_lines"].items():
        for text in texts:
            yield TrainingRow((Turn("user", text),), Severity.UNSAFE, (Category(name),), None, CHATTING, code)
    for pair in lines.get("supportive", ()):
        turns = (Turn("user", pair["question"]), Turn("assistant", pair["answer"]))
        yield TrainingRow(turns[:1], Severity.SAFE, (), None, CHATTING, code)
        yield TrainingRow(turns, Severity.SAFE, (), False, CHATTING, code)
    for pair in lines.get("answered", ()):
        turns = (Turn("user", pair["question"]), Turn("assistant", pair["answer"]))
        categories = (Category(pair["category"]),) if "category" in pair else ()
        refusal = not categories and is_refusal(pair["answer"])
        yield TrainingRow(turns, Severity.UNSAFE if categories else Severity.SAFE, categories, refusal, CHATTING, code)
