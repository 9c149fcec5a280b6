"""What the commands print: results on standard output, causes and remedies on standard error."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

from rich.console import Console

from guard_server.errors import GuardServerError

# Without emoji: they would replace parts of ids, such as in qwen:on:latest.
out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(highlight=False, soft_wrap=True, emoji=False, stderr=True)
_NAMED = 8


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def enumerated(names: Sequence[str]) -> str:
    """The first of them in one line: an Open WebUI may have hundreds of models."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def show_what_can_be_shown() -> None:
    """A terminal that lacks a sign, such as an arrow or a letter of a model's name, shows a question mark for it."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


@contextmanager
def errors_reported() -> Iterator[None]:
    """Print an expected error as cause and remedy on stderr, and exit with status 1."""
    try:
        yield
    except GuardServerError as error:
        err.print("Error:", error.cause, style="red", markup=False)
        err.print("Remedy:", error.remedy, markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def warn_if_open(host: str, key: str | None) -> None:
    """Warn if a server can be reached from other machines and asks for no key."""
    if host not in ("127.0.0.1", "localhost", "::1") and not key:
        out.print("  Warning: open to the network without a key. Set --api-key.", style="yellow")
