"""Finds every regular expression of a module, and makes texts from its own characters that are hard for it."""

import ast
import inspect
import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

_METHODS = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
# Methods that match once at the start, and methods that match anywhere; one of each, since the engine is the same.
_ONCE = ("match", "fullmatch")
_CATEGORIES = {
    codes.CATEGORY_DIGIT: "7",
    codes.CATEGORY_SPACE: " \n",
    codes.CATEGORY_WORD: "a_",
    codes.CATEGORY_NOT_WORD: "! ",
    codes.CATEGORY_NOT_SPACE: "x",
    codes.CATEGORY_NOT_DIGIT: "x",
}
_OF_MOST_LANGUAGES = (" ", "\n", "a", "A", "1", "!", "<", "中", "\u0301")
# The number of pairs is quadratic, so only the first characters of a pattern are used: those that begin and repeat it.
_MOST_CHARS, _MOST_PAIRED = 24, 6


class Use(NamedTuple):
    """One way in which a module uses one pattern."""

    name: str
    """Its name in the module; empty if it has none."""
    source: str
    pattern: re.Pattern[Any] | None
    """None if it is made in a way that cannot be analysed."""
    method: str

    def seconds(self, text: str) -> float:
        """Processor time of this use over `text`."""
        assert self.pattern is not None
        data: Any = text.encode("utf-8", "surrogatepass") if isinstance(self.pattern.pattern, bytes) else text
        started = time.process_time()
        if self.method in _ONCE:
            getattr(self.pattern, self.method)(data)
        else:
            for _ in self.pattern.finditer(data):
                pass
        return time.process_time() - started


def uses(module: ModuleType) -> list[Use]:
    """All uses, of patterns with names and of inline patterns."""
    tree = ast.parse(inspect.getsource(module))
    found: list[Use] = []
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and _is_call(node.value, ("compile",))
        ):
            names[node.targets[0].id] = ast.unparse(node.value)
        elif _is_call(node, _METHODS):
            assert isinstance(node, ast.Call)
            assert isinstance(node.func, ast.Attribute)
            found.append(Use("", ast.unparse(node), _evaluated(node.args[0], module), node.func.attr))
    for name, source in names.items():
        methods = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
        }
        pattern = getattr(module, name)
        # A pattern that another module uses, or that is in a table, may be used in any way.
        found += [Use(name, source, pattern, method) for method in sorted(methods & {*_METHODS}) or ["finditer"]]
    return found


def adversarial(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Texts of about `size` characters, without duplicates."""
    chars: list[str] = []
    samples: list[str] = []
    repeats: list[tuple[str, str]] = []
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    samples.append(_walk(parser.parse(source, pattern.flags & ~re.DEBUG), chars, samples, repeats, ""))
    chars = list(dict.fromkeys(chars))[:_MOST_CHARS]
    paired = list(dict.fromkeys([*chars[:_MOST_PAIRED], " ", "\n", "a", "1"]))
    units = dict.fromkeys([*chars, *_OF_MOST_LANGUAGES])
    units |= dict.fromkeys(one + other for one in paired for other in paired if one != other)
    for sample in dict.fromkeys(filter(None, samples)):
        units |= dict.fromkeys(filter(None, (sample, sample[:-1], f"{sample}\n", f"{sample} ")))
    texts: dict[str, None] = {}
    for unit in units:
        # The end decides whether the engine must go back over everything that it matched.
        texts |= dict.fromkeys((unit * (size // len(unit)), unit * (size // len(unit)) + "\0"))
    for before, one in dict.fromkeys(repeat for repeat in repeats if repeat[1]):
        long = one * (size // len(one))
        texts |= dict.fromkeys((f"{before}{long}\0", f"{before}{long}\n", f"{long}!"))
        few = f"{before}{one * 50}\0"
        texts[few * (size // len(few))] = None
    yield from texts


def _is_call(node: ast.AST, functions: tuple[str, ...]) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in functions
    )


def _evaluated(node: ast.expr, module: ModuleType) -> re.Pattern[Any] | None:
    try:
        return re.compile(eval(compile(ast.Expression(node), "pattern", "eval"), vars(module)))
    except NameError:
        return None


def _walk(tree: Any, chars: list[str], samples: list[str], repeats: list[tuple[str, str]], before: str) -> str:
    """A short text that the pattern matches; fills the lists with its characters, its branches and its repeats."""
    text = ""
    for code, argument in tree:
        if code is codes.LITERAL:
            chars.append(chr(argument))
            text += chr(argument)
        elif code in (codes.NOT_LITERAL, codes.ANY):
            text += "x" if argument != ord("x") else "y"
        elif code is codes.IN:
            some = _chars_of(argument)
            chars += some[:6]
            text += some[0]
        elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            least, most, inner = argument
            one = _walk(inner, chars, samples, repeats, before + text)
            repeats += [(before + text, one)] if most > 1 else []
            text += one * max(least, 1)
        elif code is codes.SUBPATTERN:
            text += _walk(argument[3], chars, samples, repeats, before + text)
        elif code is codes.ATOMIC_GROUP:
            text += _walk(argument, chars, samples, repeats, before + text)
        elif code is codes.BRANCH:
            ways = [_walk(way, chars, samples, repeats, before + text) for way in argument[1]]
            samples += [before + text + way for way in ways]
            text += ways[0]
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            _walk(argument[1], chars, [], [], "")
    return text


def _chars_of(items: Any) -> list[str]:
    """Some characters of a class."""
    negated = items[0][0] is codes.NEGATE
    listed: list[str] = []
    for code, argument in items:
        if code is codes.LITERAL:
            listed.append(chr(argument))
        elif code is codes.RANGE:
            listed += [chr(argument[0]), chr(argument[1])]
        elif code is codes.CATEGORY:
            listed += _CATEGORIES[argument]
    return ([char for char in "x !7中\n" if char not in listed] or ["x"]) if negated else listed
