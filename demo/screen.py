"""What the person at the terminal sees: one line per step, with the seconds since the start."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.markup import escape


class Screen:
    """Progress lines, and the one red line when it fails."""

    def __init__(self) -> None:
        # A log has no width of its own, and a table in 80 columns is hard to read.
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
        self.begun = time.monotonic()

    def say(self, line: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self.begun:4.0f} s[/dim]  {escape(line)}", soft_wrap=True)

    def fail(self, error: Exception) -> None:
        self.console.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
