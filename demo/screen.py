"""Output to the terminal: one line per step, with the seconds since the start."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.markup import escape


class Screen:
    """Prints progress lines, and a red line for an error."""

    def __init__(self) -> None:
        # A log file has no width, and a table in the default 80 columns is hard to read.
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
        self.begun = time.monotonic()

    def say(self, line: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self.begun:4.0f} s[/dim]  {escape(line)}", soft_wrap=True)

    def fail(self, error: Exception) -> None:
        self.console.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
