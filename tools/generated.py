"""The common part of all generators: write a file, or with `--check` report whether it is current."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(path: str, text: str) -> int:
    """Write `text` to `path` of the project; with `--check` on the command line write nothing.

    Returns:
        The exit status: 1 if `--check` found that the file differs.
    """
    parser = argparse.ArgumentParser(description=f"Write {path}.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    file = ROOT / path
    if parser.parse_args().check:
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            print(f"{path} is not current: run `make tables`", file=sys.stderr)
            return 1
        return 0
    file.write_text(text, encoding="utf-8")
    print(f"wrote {path}")
    return 0


def string_lines(text: str, width: int = 100) -> str:
    """`text` as Python string literals, one per line, to be placed between parentheses."""
    return "\n".join(f'    "{text[start : start + width]}"' for start in range(0, len(text), width))
