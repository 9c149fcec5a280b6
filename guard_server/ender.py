"""Ending a process group for certain. Also a program: a watchdog that does so when its parent is no more.

vLLM's own way out is not enough (0.32.0): asked to end while it loads it can hang, and when its first process is killed
the others stay.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

SECONDS = 8.0
"""For vLLM to end by itself: less than the ten that Docker gives a container."""


def end_group(group: int, reap: Callable[[], object] = lambda: None, seconds: float | None = None) -> None:
    """Ask the leader of a process group to end; kill what is left of the group after `seconds` (default: SECONDS).

    Args:
        group: also the id of its leader.
        reap: collects the leader's status, where it is a child of the caller.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + (SECONDS if seconds is None else seconds)
    while _alive(group) and time.monotonic() < deadline:
        reap()
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def watch(group: int) -> "subprocess.Popen[bytes]":
    """Start the watchdog. It acts when its standard input ends, which it does even where the caller is killed."""
    command = [sys.executable, __file__, str(group), str(SECONDS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.stdin.read()
    end_group(int(sys.argv[1]), seconds=float(sys.argv[2]))
