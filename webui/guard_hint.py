"""What an admin can do about turns that get no verdict: the cause, and the valve to look at.

Causes are recognised by this project's own words for them (`moderation`): tests provoke each one.
"""

import re

from moderation.probe import ADMINS_ONLY

HINT_START = f"\n\n{ADMINS_ONLY}"
_LONGEST_CAUSE = 300
_ADDRESS = "the valve guard_base_url needs the address of a Qwen3Guard server, which usually ends in /v1"
_ADVICE = (
    (re.compile(r"answered 40[13]: |guard's key"), "the valve guard_api_key needs the key of the guard's server"),
    (re.compile(r"answered 404: .{0,200}model"), "the valve guard_model needs a name that the server lists, or auto"),
    (re.compile(r"answered 40\d: |lists no model|like an OpenAI-compatible|redirects to"), _ADDRESS),
    (re.compile(r"cannot be reached"), f"{_ADDRESS}; that server must run, and this one must be able to reach it"),
    (
        re.compile(r"no verdict within|not judged within|did not answer a moment ago"),
        "the guard does not answer, or is too slow: see the valves guard_base_url and timeout_seconds",
    ),
    (
        re.compile(r"guard said nothing|guard's reply"),
        "if this goes on, the model that answers is no Qwen3Guard-Gen: see the valves guard_base_url and guard_model",
    ),
    (re.compile(r"too many checks wait"), "the guard is too slow for its users: see docs/operations.md"),
)


def guard_hint(problem: str, replaced: str | None = None, *, unset: bool = False) -> str:
    """The cause, in plain text on one line, and what an admin can do about it.

    Args:
        problem: of a verdict without severity, or of a guard that cannot be asked.
        replaced: which valve of the guard had a value that was replaced by its default.
        unset: whether the guard's address is the default.
    """
    cause = " ".join(problem.split())[:_LONGEST_CAUSE].rstrip(".")
    advice = _advice_on(cause)
    if advice is None:
        return f"{cause}."
    before = f"{replaced}; " if replaced else "the guard's address was not set yet; " if unset else ""
    return f"{cause}. What to do: {before}{advice}."


def is_about_guard(problem: str) -> bool:
    """Whether the cause is the guard, its server, or a valve about them."""
    return _advice_on(problem) is not None


def _advice_on(cause: str) -> str | None:
    return next((advice for pattern, advice in _ADVICE if pattern.search(cause)), None)


def with_hint(notice: str, hint: str) -> str:
    """A notice for an admin, who reads the cause under it."""
    # Nothing of the cause is Markdown.
    return f"{notice}{HINT_START}\n\n```\n{hint.replace('`', chr(39))}\n```"
