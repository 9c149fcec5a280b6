"""One event that says what several chunks say: a hook of Open WebUI gets one event and gives one."""

from collections.abc import Iterable
from typing import Any

from webui.bodies import Body, objects_in


def one_event(chunks: Iterable[Body]) -> Body:
    """All chunks of one answer in one; empty if there are none."""
    whole: Body = {}
    choices: dict[int, Body] = {}
    for chunk in chunks:
        whole |= chunk
        for choice in objects_in(chunk.get("choices")):
            known = choices.get(choice["index"])
            if known is None:
                choices[choice["index"]] = choice
                continue
            delta = known["delta"]
            for key, value in choice["delta"].items():
                delta[key] = _both(delta[key], value) if key in delta else value
            more = {key: value for key, value in choice.items() if key != "delta" and value is not None}
            known.update(more)
    return {**whole, "choices": list(choices.values())} if whole else {}


def _both(before: Any, after: Any) -> Any:
    """One value that says both: of texts, or of parts of texts as Mistral sends them."""
    if isinstance(before, str) and isinstance(after, str):
        return before + after
    if isinstance(before, str | list) and isinstance(after, str | list):
        return [*_parts(before), *_parts(after)]
    return after


def _parts(value: str | list[Any]) -> list[Any]:
    return value if isinstance(value, list) else [{"type": "text", "text": value}]
