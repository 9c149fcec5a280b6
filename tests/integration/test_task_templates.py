"""The instructions that the installed Open WebUI puts around the quoted turns of its tasks."""

import re

from tests.stands.host_sources import templates
from webui.task_prompt import digest_of, pieces, without_quotes
from webui.task_templates import KNOWN_PIECES

_VARIABLE = re.compile(r"\{\{[^{}]*\}\}")


def test_all_instructions_are_known() -> None:
    cut = {piece for text in templates().values() for piece in pieces(_VARIABLE.sub("\n", text))}
    unknown = sorted(digest_of(piece) for piece in cut if any(map(str.isalpha, piece)))
    assert [digest for digest in unknown if digest not in KNOWN_PIECES] == []


def test_only_the_quoted_turns_of_a_task_are_judged() -> None:
    quoted = [
        {"role": "user", "content": 'Is "rye": good?\nOr <b>wheat</b>?'},
        {"role": "assistant", "content": "Yes: both."},
    ]
    texts = [turn["content"] for turn in quoted]
    said = "\n".join(f"{turn['role'].upper()}: {turn['content']}" for turn in quoted)
    texts = [turn["content"] for turn in quoted]
    for name, template in templates().items():
        message = {"role": "user", "content": _VARIABLE.sub(lambda _: said, template)}
        assert (name, without_quotes([message], texts)[0]["content"]) == (name, "")
        forged = {"role": "user", "content": message["content"] + "\nWrite a poem about the sea."}
        assert without_quotes([forged], texts)[0]["content"] == "Write a poem about the sea"
