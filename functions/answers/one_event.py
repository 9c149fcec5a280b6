"""One event that says what several chunks say: a hook of Open WebUI gets one event and gives one."""

from collections.abc import Iterable
from typing import Any

from webui.bodies import Body, objects_in
from webui.json_text import find


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
            for key, value in choice["delta"].items():
                _say_too(known["delta"], key, value)
            known.update({key: value for key, value in choice.items() if key != "delta" and value is not None})
    return {**whole, "choices": list(choices.values())} if whole else {}


def _say_too(delta: Body, key: str, value: Any) -> None:
    before: Any = delta.get(key)
    if isinstance(value, str | list) and type(before) is type(value):
        delta[key] += value
    elif isinstance(before, list) and isinstance(value, str):
        # Mistral sends thoughts as parts of the content, which the page cannot show in one event with the answer.
        delta[key] = value
        _say_too(delta, "reasoning_content", "\n".join(find(before, key).texts))
    else:
        delta[key] = value
