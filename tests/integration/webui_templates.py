"""The templates of the installed Open WebUI's tasks, from its source: it belongs to another environment."""

import ast
import re
from pathlib import Path

_TEMPLATE = re.compile(r"DEFAULT_\w+_GENERATION_PROMPT_TEMPLATE")
_ROOT = Path(__file__).resolve().parents[2]


def templates() -> dict[str, str]:
    """The defaults, by name."""
    (config,) = _ROOT.glob(".venvs/webui/lib/*/site-packages/open_webui/config.py")
    assigned = [node for node in ast.parse(config.read_text()).body if isinstance(node, ast.Assign)]
    named = [(node.targets[0], node.value) for node in assigned]
    return {
        target.id: ast.literal_eval(value)
        for target, value in named
        if isinstance(target, ast.Name) and _TEMPLATE.fullmatch(target.id)
    }
