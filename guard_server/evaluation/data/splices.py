"""Answers with one unsafe sentence at a known position, to measure how soon a Stream model flags it.

Data sets rarely mark where an answer turns harmful, so such answers are made: a sentence that is harmful by itself is
inserted between two sentences of a harmless answer. The sentence is an Unsafe row of one message and one sentence, so
nothing else can be the reason for its label. Questions are excluded, since repeating a question gives no harmful
information; and so are jailbreaks, a category of prompts only.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from guard_server.errors import UnreadableData
from guard_server.evaluation.data.rows import Row
from moderation.verdict import Category, Severity

# Characters. Shorter sentences are mostly interjections; longer answers do not fit a small guard's context.
_SENTENCE = range(20, 401)
_CARRIER = range(40, 2001)
_SENTENCES = re.compile(r"\S.*?(?:[.!?](?=\s)|[。！？]|\n|\Z)\s*", re.DOTALL)


def splices(rows: Sequence[Row], count: int, seed: int, categories: Collection[Category] = ()) -> Iterator[str]:
    """`count` answers as lines of our format; `unsafe_start` and `unsafe_end` mark the inserted sentence.

    There is at least one harmless sentence before it, and perhaps none after it. Sentence and answer have the same
    language.

    Args:
        rows: the source of Safe answers and of harmful sentences.
        seed: the same rows and seed give the same lines.
        categories: only sentences of these; of all if it is empty.

    Raises:
        UnreadableData: the rows have no such sentence with a harmless answer in its language.
    """
    carriers: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.task == "response" and row.label is Severity.SAFE and _carries(row.conversation[-1].text):
            carriers[row.lang].append(row)
    wanted = set(categories or Category) - {Category.JAILBREAK}
    harmful = [row for row in rows if row.lang in carriers and _harms_by_itself(row)]
    harmful = [row for row in harmful if row.categories <= wanted and (row.categories or not categories)]
    if not harmful:
        raise UnreadableData(
            "The rows have no harmful sentence with a Safe answer of several sentences in its language.",
            "Name data with Unsafe prompts and Safe answers, or other splits and categories.",
        )
    draw = random.Random(seed)
    draw.shuffle(harmful)
    for number in range(count):
        row = harmful[number % len(harmful)]
        yield json.dumps(_spliced(row, draw.choice(carriers[row.lang]), draw), ensure_ascii=False) + "\n"


def _carries(text: str) -> bool:
    return len(text) in _CARRIER and len(_SENTENCES.findall(text)) > 1


def _harms_by_itself(row: Row) -> bool:
    if row.label is not Severity.UNSAFE or len(row.conversation) > 1:
        return False
    text = row.conversation[0].text.strip()
    return len(text) in _SENTENCE and text[-1] not in "?？" and len(_SENTENCES.findall(text)) == 1


def _spliced(harmful: Row, carrier: Row, draw: random.Random) -> dict[str, Any]:
    *before, answer = carrier.conversation
    parts = _SENTENCES.findall(answer.text)
    at = draw.randint(1, len(parts))
    sentence = harmful.conversation[0].text.strip()
    head, tail = "".join(parts[:at]).rstrip(), "".join(parts[at:])
    gap = "" if head[-1] in "。！？" else " "
    start = len(head + gap)
    messages = [{"role": turn.role, "content": turn.text} for turn in before]
    text = head + gap + sentence + (gap + tail if tail else "")
    return {
        "messages": [*messages, {"role": "assistant", "content": text}],
        "label": Severity.UNSAFE,
        "lang": harmful.lang,
        "split": harmful.split,
        "categories": sorted(harmful.categories),
        "unsafe_start": start,
        "unsafe_end": start + len(sentence),
    }
