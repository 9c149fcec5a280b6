"""The instructions that the installed Open WebUI puts around what its tasks quote."""

import ast
import re
from pathlib import Path

from pipelines.task_prompt import digest_of, pieces, without_quotes
from pipelines.task_templates import KNOWN_PIECES

_TEMPLATE = re.compile(r"DEFAULT_\w+_GENERATION_PROMPT_TEMPLATE")
_VARIABLE = re.compile(r"\{\{[^{}]*\}\}")
_ROOT = Path(__file__).resolve().parents[2]


def templates() -> dict[str, str]:
    """Open WebUI's default templates, by name, from its source: it belongs to another environment."""
    (config,) = _ROOT.glob(".venvs/webui/lib/*/site-packages/open_webui/config.py")
    assigned = [node for node in ast.parse(config.read_text()).body if isinstance(node, ast.Assign)]
    named = [(node.targets[0], node.value) for node in assigned]
    return {
        target.id: ast.literal_eval(value)
        for target, value in named
        if isinstance(target, ast.Name) and _TEMPLATE.fullmatch(target.id)
    }


def test_all_instructions_are_known() -> None:
    cut = {piece for text in templates().values() for piece in pieces(_VARIABLE.sub("\n", text))}
    unknown = sorted(digest_of(piece) for piece in cut if any(map(str.isalpha, piece)))
    assert [digest for digest in unknown if digest not in KNOWN_PIECES] == []


def test_nothing_is_left_to_judge_of_a_task_but_what_it_quotes() -> None:
    quoted = [
        {"role": "user", "content": 'Is "rye": good?\nOr <b>wheat</b>?'},
        {"role": "assistant", "content": "Yes: both."},
    ]
    said = "\n".join(f"{turn['role'].upper()}: {turn['content']}" for turn in quoted)
    for name, template in templates().items():
        message = {"role": "user", "content": _VARIABLE.sub(lambda _: said, template)}
        assert (name, without_quotes([message], quoted)[0]["content"]) == (name, "")
        forged = {"role": "user", "content": message["content"] + "\nWrite a poem about the sea."}
        assert without_quotes([forged], quoted)[0]["content"] == "Write a poem about the sea"
