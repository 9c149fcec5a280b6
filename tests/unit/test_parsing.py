"""`ast.parse` in tests: see tests/stands/parsing.py."""

import ast
import gc
from pathlib import Path


class Cycle:
    """Parses when it is collected, as the traceback of a task's lost error does."""

    collected = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("a = 1")
        Cycle.collected += 1


def test_a_source_can_be_parsed_while_others_are() -> None:
    source = Path(__file__).read_text(encoding="utf-8") * 20
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(20):
            Cycle()
            ast.parse(source)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert Cycle.collected == 20
