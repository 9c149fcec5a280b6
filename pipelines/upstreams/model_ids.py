"""The ids of guarded models: `qwen3guard_models.<entry>`, where an entry is a model's own id, made safe for a URL."""

from urllib.parse import quote, unquote

_MANIFOLD = "qwen3guard_models."
# The entry that delivers the filter's notices; no model's id is encoded like this.
REFUSAL_ENTRY = "~refusal"
# Comes before the number of an upstream, from the second on. An encoded model id never contains it.
_PLACE = "~~"


def encoded(model: str, place: int = 1) -> str:
    """The entry of a model of the upstream at `place`: `qwen/qwen3` becomes `qwen~2Fqwen3`.

    Open WebUI puts ids into paths without quoting them, so `%` cannot be used.
    """
    entry = quote(model, safe=":").replace("~", "%7E").replace("%", "~")
    return entry if place == 1 else f"{entry}{_PLACE}{place}"


def decoded(entry: str) -> tuple[str, int]:
    """The model's own id and the place of its upstream; place 0 if that is not a number."""
    model, _, place = entry.partition(_PLACE)
    # A bound on the digits that a client can make `int` parse.
    number = int(place) if place.isdecimal() and len(place) < 10 else 0 if place else 1
    return unquote(model.replace("~", "%")), number


def guarded(model: str) -> str:
    """The id of the guarded model of a model of the first upstream."""
    return _MANIFOLD + encoded(model)


def is_guarded(model: object) -> bool:
    """Whether a model judges its own prompts and answers."""
    return isinstance(model, str) and model.startswith(_MANIFOLD) and model != _MANIFOLD + REFUSAL_ENTRY
