"""Python 3.11 before 3.11.8 cannot parse while it parses: https://github.com/python/cpython/issues/106905"""

import ast
import gc
import sys
from functools import wraps
from typing import Any

_FIXED = (3, 11, 8)


def parse_without_collections() -> None:
    """Make `ast.parse` certain in this process, in every module that calls it.

    A collection of garbage during it runs other code, in this thread or another. If that parses as well, as each
    formatted traceback does, the first call fails with "AST constructor recursion depth mismatch".
    """
    if sys.version_info < _FIXED:
        ast.parse = _without_collections(ast.parse)


def _without_collections(parse: Any) -> Any:
    @wraps(parse)
    def parsed(*arguments: Any, **options: Any) -> Any:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return parse(*arguments, **options)
        finally:
            if enabled:
                gc.enable()

    return parsed
