"""Where texts are inside a value of any shape, so that a part of one can be said again at its own place."""

from typing import Any, NamedTuple

from webui.json_text import MEDIA_PARTS, PROSE_KEYS, is_blob, is_text, media_of

# Strings under these keys are labels unless they are words: never the beginning of a text that grows.
_LABELS = frozenset(
    ("type", "id", "index", "format", "role", "object", "status", "signature", "data", "mime_type", "detail", "item_id")
)


class Step(NamedTuple):
    """One step into a value: a key of an object, or an item of a list."""

    key: str | int
    labels: dict[str, Any]
    """Of the object that is stepped into: which item it is, and of what type."""


TextPath = tuple[Step, ...]


class Leaves(NamedTuple):
    """A value taken apart."""

    texts: list[tuple[TextPath, str]]
    """What grows, in order."""
    keys: list[str]
    """Keys of objects that are words."""
    media: dict[str, None]
    """Kinds of pictures and sound in it."""
    rest: Any
    """The value without those texts."""
    matters: bool
    """Whether `rest` tells more than labels that go out with the texts anyway."""


def take_apart(key: str, value: Any) -> Leaves:
    """The texts in a value and what is left without them. Each level costs a call."""
    if _is_label(key, value):
        return Leaves([], [], {}, value, True)
    found = Leaves([], [], {}, None, False)
    rest, matters = _without_texts(found, (Step(key, {}),), value)
    return found._replace(rest=rest, matters=matters or not found.texts)


def name_of(path: TextPath) -> str:
    """A name for the place, the same for all parts of one text."""
    return "/".join(str(step.key) for step in path)


def rebuilt(path: TextPath, text: str) -> Any:
    """The value that says `text` at its place, with the labels on the way there."""
    value: Any = text
    for step in reversed(path):
        value = [value] if isinstance(step.key, int) else {**step.labels, step.key: value}
    return value


def _without_texts(found: Leaves, path: TextPath, value: Any) -> tuple[Any, bool]:
    if isinstance(value, str):
        return _without_text(found, path, value)
    if isinstance(value, list):
        items = [
            _without_texts(found, (*path, Step(_place_of(item, position), {})), item)
            for position, item in enumerate(value)
        ]
        return [item for item, _ in items if item is not None], any(matters for _, matters in items)
    if isinstance(value, dict):
        if isinstance(value.get("type"), str) and value["type"] in MEDIA_PARTS:
            found.media[value["type"]] = None
        found.keys.extend(filter(is_text, value))
        labels = {key: item for key, item in value.items() if _is_label(key, item)}
        inner = {
            key: _without_texts(found, (*path, Step(key, labels)), item)
            for key, item in value.items()
            if key not in labels and item is not None
        }
        rest = {key: item for key, (item, _) in inner.items() if item not in (None, {}, [])}
        return labels | rest, any(matters for _, matters in inner.values())
    return value, False


def _without_text(found: Leaves, path: TextPath, value: str) -> tuple[str | None, bool]:
    key = next((step.key for step in reversed(path) if isinstance(step.key, str)), "")
    # A part of a prose text may look like anything.
    kind = media_of(value)
    if key not in PROSE_KEYS and (kind or is_blob(value)):
        found.media.update({kind: None} if kind else {})
        return value, True
    if value:
        found.texts.append((path, value))
    return None, False


def _is_label(key: str, value: Any) -> bool:
    if isinstance(value, str):
        return key in _LABELS and not is_text(value) and not is_blob(value) and media_of(value) is None
    return value is None or (isinstance(value, int | float) and key in _LABELS)


def _place_of(item: Any, position: int) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else position
