"""What the commands print: results on standard output, causes and remedies on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from guard_server.errors import GuardServerError

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


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
