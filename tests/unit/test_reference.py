"""Commands, options and valves in docs and remedies exist. `make lint` checks that generated pages are current."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from guard_server import cli
from pipelines.qwen3guard_filter import Valves
from pipelines.service import ModelsValves

ROOT = Path(__file__).parents[2]
# Typer has its own copy of click, whose types it does not export.
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
VALVES = set(Valves.model_fields) | set(ModelsValves.model_fields)
# Not the namespace of kubectl.
MENTION = re.compile(r"(?<!-n )qwen3guard ([a-z]+)((?: +(?:\\\n +)?[^\s`#&|;(){}\[\]]+)*)")


def mentioned() -> Iterator[tuple[str, str, str]]:
    """For each mention of a command: its place, its name, and the rest of the line."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.yml")]
    for file in [*pages, *(ROOT / "guard_server").rglob("*.py"), *(ROOT / "guard_server").rglob("*.md")]:
        if file.parent.name != "reference":
            for found in MENTION.finditer(file.read_text(encoding="utf-8")):
                yield f"{file.relative_to(ROOT)}: {found[0]}", found[1], found[2]


def test_commands_and_options_that_docs_and_remedies_name_exist() -> None:
    found = list(mentioned())
    assert {name for _, name, _ in found} == set(COMMANDS), found
    for place, name, rest in found:
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        if name == "serve":
            # Other options are passed to vLLM.
            known |= {"--max-num-seqs"}
        assert {word for word in rest.replace('"', " ").split() if word.startswith("--")} <= known, place


@pytest.mark.parametrize(
    "line",
    [
        line
        for page in ("README.md", "docs/guard-server.md", "docs/doctor.md", "docs/api.md", "docs/evaluation.md")
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("qwen3guard ")
    ],
)
def test_a_command_line_is_parsed(line: str) -> None:
    command = line.partition(" || ")[0]
    name, *arguments = shlex.split(command, comments=True)[1:]
    with COMMANDS[name].make_context(name, arguments) as context:
        assert name == "serve" or not context.args


@pytest.mark.parametrize("page", ["admin-guide.md", "guarded-models.md"])
def test_the_valves_that_are_explained_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.partition("\n## Valves\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^- `(\w+)`", section, re.M)
    assert len(explained) >= 5
    assert set(explained) <= VALVES
