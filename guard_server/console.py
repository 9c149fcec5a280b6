"""What the commands print: results on standard output, causes and remedies on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from guard_server.errors import ExtraMissing, GuardServerError

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


@contextmanager
def errors_told() -> Iterator[None]:
    """A known failure is a cause and a remedy on stderr, and status 1."""
    try:
        yield
    except GuardServerError as error:
        err.print("Error:", error.cause, style="red", markup=False)
        err.print("Remedy:", error.remedy, markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """A package that is not there is one of this extra's.

    Raises:
        ExtraMissing: it is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraMissing(error.name, extra) from error


def warn_if_open(host: str, key: str | None) -> None:
    """Say so where a server listens beyond this machine and asks for no key."""
    if host not in ("127.0.0.1", "localhost", "::1") and not key:
        out.print("  Warning: open to the network without a key. Set --api-key.", style="yellow")
