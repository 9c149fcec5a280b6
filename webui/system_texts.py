"""System texts of which the admin wrote the beginning: what of them must be judged."""

from collections.abc import Sequence
from typing import Any

from webui.bodies import Body, object_or_empty

# Looking for a client's values in an admin's text may not compare more characters than this.
_MOST_COMPARED_WITH = 20_000_000


def values_given(metadata: Body, user: Body) -> tuple[str, ...]:
    """What a client gave for the variables that an admin's prompt may name."""
    given: list[Any] = []
    for values in (metadata.get("variables"), metadata.get("chat_variables"), user.get("variables")):
        given += object_or_empty(values).values()
    given += [user.get(name) for name in ("name", "email", "bio")]
    return tuple(str(value) for value in given if value)


def judged_part(trusted: str, rest: str, given: Sequence[str]) -> str:
    """What must be judged of a system text.

    Args:
        trusted: its beginning, which the admin wrote, with variables filled in.
        rest: what follows.
        given: the client's values of the variables.
    """
    # The client chooses how many values there are: those that are not looked for count as found, and are judged.
    looked_for = _MOST_COMPARED_WITH // max(1, len(trusted))
    found = [value for place, value in enumerate(given) if place >= looked_for or value in trusted]
    return "\n".join(filter(None, [rest, *found]))
