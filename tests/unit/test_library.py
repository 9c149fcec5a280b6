"""`moderation` as a library: its public names, the cost of its import, and the program in docs/library.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import moderation

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"```python\n(.*?)```", re.DOTALL)


def typed_names() -> list[str]:
    """The names that a type checker sees."""
    tree = ast.parse((ROOT / "moderation" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    return [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_the_public_names_are_these() -> None:
    assert moderation.__all__ == [
        *("Action", "Audit", "AuditFile", "AuditRecord", "AuditSink", "AuditWriter", "Category", "ChatReview"),
        *("Conversation", "Decision", "Endpoint", "EndpointError", "Guard", "Message", "NoticeKind", "Notices"),
        *("Policy", "Review", "Severity", "Turn", "Verdict"),
    ]


@pytest.mark.parametrize("name", moderation.__all__)
def test_each_public_name_exists_and_is_typed(name: str) -> None:
    assert getattr(moderation, name) is not None
    assert name in dir(moderation)
    assert typed_names().count(name) == 1


def test_there_are_no_other_names() -> None:
    assert sorted(typed_names()) == moderation.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Gurad'"):
        getattr(moderation, "Gurad")  # noqa: B009


def test_importing_it_is_cheap() -> None:
    code = "import sys, moderation; print([name for name in ('openai', 'aiohttp', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_program_in_the_docs_prints_what_the_docs_show(guard_url: str) -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    (program,) = PROGRAM.findall(page)
    assert "http://localhost:8000/v1" in program
    code = program.replace("http://localhost:8000/v1", guard_url)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Safe () pass\n", "")
    assert f"It prints `{done.stdout.strip()}`." in page
