"""Valves that no value can break.

The Pipelines server starts with whatever valves.json holds, and stops when a model rejects it; Open WebUI's page posts
numbers as strings and shows nothing of a validation error. So a bad value becomes its safe default, and is reported.
"""

import json
import os
import re
from functools import cache, lru_cache
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

# Not exported by `pydantic` itself in the official image's 2.7.1.
from pydantic.functional_validators import ModelWrapValidatorHandler

from moderation.audit.audit_file import checked_audit_path
from moderation.verdict import Category

# The page cannot save an empty text, so this word stands for "nothing".
NOTHING = "none"
DEFAULT = "default"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# What HTTP itself sets.
_OWN_HEADERS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding")


def _address(value: str) -> str:
    value = value.strip().rstrip("/")
    if not value.startswith(("http://", "https://")):
        raise ValueError("an address begins with http:// or https://")
    return value


def _addresses(value: str) -> str:
    return ", ".join(map(_address, words(value)))


def _text(value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError("it is empty")
    return value


def _audit_path(value: str) -> str:
    if chosen(value) is not None:
        _usable_audit_path(value)
    return value


@lru_cache(16)
def _usable_audit_path(value: str) -> None:
    """Look at the disk once for each path that can be used: a path that fails later is reported by the audit itself."""
    checked_audit_path(value)


def _category_names(value: str) -> str:
    parse_categories(value)
    return value


def _targets(value: Any) -> list[str]:
    """The filter must see every model: "*" among others, or nothing at all, would make Open WebUI skip it."""
    entries = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    names = [str(entry).strip() for entry in entries if entry]
    names = [name for name in names if name]
    return ["*"] if not names or "*" in names else names


def parse_header_sets(value: str) -> list[dict[str, str]]:
    """The headers for each address: a JSON object for the first, or a list of objects; none for "none".

    Raises:
        ValueError: it is something else, or no HTTP header.
    """
    if chosen(value) is None:
        return []
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('write a JSON object such as {"api-key": "…"}, or a list of them') from None
    sets = parsed if isinstance(parsed, list) else [parsed]
    for headers in sets:
        if not isinstance(headers, dict) or not all(isinstance(text, str) for text in headers.values()):
            raise ValueError('each entry is an object of texts, such as {"api-key": "…"}')
        for name, text in headers.items():
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set as a header")
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"the value of {name!r} has characters that a header cannot have")
    return sets


def _header_sets(value: str) -> str:
    parse_header_sets(value)
    return value


Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[str, AfterValidator(_addresses), AfterValidator(_text)]
Text = Annotated[str, AfterValidator(_text)]
HeaderSets = Annotated[str, AfterValidator(_text), AfterValidator(_header_sets)]
AuditPath = Annotated[str, AfterValidator(_text), AfterValidator(_audit_path)]
Categories = Annotated[str, AfterValidator(_category_names)]
Targets = Annotated[list[str], BeforeValidator(_targets)]


def chosen(value: str) -> str | None:
    """A text valve's value; None for "none" and "default"."""
    return None if value.lower() in (NOTHING, DEFAULT) else value


def words(value: str) -> list[str]:
    """The entries of a comma-separated valve; none for "none"."""
    names = [name.strip() for name in value.split(",")]
    return [name for name in names if name and name.lower() != NOTHING]


def parse_categories(value: str) -> frozenset[Category]:
    """The categories named in a valve, in any case.

    Raises:
        ValueError: a name is not one of the nine.
    """
    by_name = {category.lower(): category for category in Category}
    unknown = [name for name in words(value) if name.lower() not in by_name]
    if unknown:
        raise ValueError(f"no category {unknown[0]!r}; there are: {', '.join(Category)}")
    return frozenset(by_name[name.lower()] for name in words(value))


class LenientValves(BaseModel):
    """Base of all valves. A field's value is what was saved, else the environment's, else the default."""

    # No factory: Open WebUI's pydantic looks at its signature whenever valves are made, which takes six times as long.
    _problems: tuple[str, ...] = PrivateAttr(())

    @property
    def problems(self) -> list[str]:
        """One line for each value that was replaced by its default."""
        return list(self._problems)

    @model_validator(mode="wrap")
    @classmethod
    def _leniently(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        given = data if isinstance(data, dict) else {}
        clean, problems = {}, []
        for name, field in cls.model_fields.items():
            variable = f"QWEN3GUARD_{name.upper()}"
            source, value = (name, given[name]) if name in given else (variable, os.environ.get(variable))
            if value is None and name not in given:
                continue
            try:
                clean[name] = _validators(cls)[name].validate_python(value)
            except ValidationError as error:
                default = field.get_default(call_default_factory=True)
                why = error.errors()[0]["msg"]
                # The value itself may be a secret in the wrong box, so it is not repeated.
                problems.append(f"{source}: {why}; {default!r} is used instead")
        valves = handler(clean)
        valves._problems = tuple(problems)
        return valves


@cache
def _validators(valves: type[LenientValves]) -> dict[str, TypeAdapter[Any]]:
    """Those of each field by itself. Open WebUI makes valves several times a request, and this takes a millisecond."""
    # `rebuild_annotation` puts the field's bounds and validators back around its type.
    return {name: TypeAdapter(field.rebuild_annotation()) for name, field in valves.model_fields.items()}
