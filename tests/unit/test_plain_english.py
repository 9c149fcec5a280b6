"""Phrases that are almost never right in plain English stay out of the pages and of the names of tests."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
TESTS = sorted(ROOT.glob("tests/**/test_*.py"))
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
# Only uses that are almost never right: a server may be behind a proxy, and an admin may be told what is wrong.
PHRASES = {
    "next to, or in addition to": r"\bbeside\b",
    "anyone who": r"\bwho(?:so|m)?ever\b",
    "reported": r"\b(?:cause|error|fault|it|problem|reason|result|verdict)s? (?:is|are|was|were) told\b(?! to\b)",
    "emits": r"\b(?:gives?|gave) out\b",
    "is": r"\b(?:stands?|stood) (?:after|there|under|where|in (?:an?|each|its|one|the|two)\b(?! way))",
    "treats … as": r"\bt(?:akes?|aken|ook) (?:it|one|that|them|these|this|those) for\b(?! granted)",
    "in it, of it": r"\b(?:there|where)(?:in|of|upon|with)\b",
}
PATTERNS = {plain: re.compile(phrase, re.IGNORECASE) for plain, phrase in PHRASES.items()}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page without its code, or the names of a module's tests."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = CODE.sub(lambda code: "\n" * code[0].count("\n"), text)
        yield from enumerate(text.splitlines(), 1)
    else:
        for found in re.finditer(r"def test_(\w+)\(", text):
            yield text.count("\n", 0, found.start()) + 1, found[1].replace("_", " ")


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("files", [PAGES, TESTS], ids=["pages", "names of tests"])
def test_each_idiom_has_a_plain_alternative(files: list[Path]) -> None:
    assert files
    found = [
        f"{place(file)}:{line}: {match[0]!r}: write {plain!r}"
        for file in files
        for line, text in texts(file)
        for plain, pattern in PATTERNS.items()
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_the_phrases_are_found_and_their_right_uses_are_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "A guard behind a proxy is asked. `beside` is a name, and a stub stands in for a model.\n"
        "```\nwhoever\n```\n"
        "The error is told, wherein whoever\ntakes it for a pass.\nThe admin is told what is wrong.\n",
        encoding="utf-8",
    )
    found = {line for line, text in texts(page) for pattern in PATTERNS.values() if pattern.search(text)}
    assert found == {5, 6}
