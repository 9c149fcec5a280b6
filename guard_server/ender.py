"""Ending a process group for certain. Also a program: a watchdog that does so when its parent is no more.

vLLM's own way out is not enough (0.32.0): asked to end while it loads it can hang, its workers can outlive its first
process, and when that is killed the others stay.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 8.0
"""For vLLM to end by itself: less than the ten that Docker gives a container."""
# A process that was killed is gone in milliseconds, unless the kernel waits for a device.
_KILLED_SECONDS = 5.0
_POLL_SECONDS = 0.05


def end_group(group: int, reap: Callable[[], object] = lambda: None, seconds: float | None = None) -> None:
    """Ask the leader of a process group to end; kill what is left of the group after `seconds` (default: SECONDS).

    Returns when all processes of the group, and of the session that its leader began, have ended.

    Args:
        group: also the id of its leader.
        reap: collects the leader's status, if it is a child of the caller.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, signal.SIGTERM)
    if _ended(group, reap, SECONDS if seconds is None else seconds):
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for process in _members(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _ended(group, reap, _KILLED_SECONDS)


def watch(group: int) -> "subprocess.Popen[bytes]":
    """Start the watchdog. It acts when its standard input ends, which it does even if the caller is killed."""
    command = [sys.executable, __file__, str(group), str(SECONDS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _ended(group: int, reap: Callable[[], object], seconds: float) -> bool:
    """Whether everything ended within `seconds`."""
    deadline = time.monotonic() + seconds
    while _alive(group):
        reap()
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _alive(group: int) -> bool:
    if Path("/proc/self/stat").exists():
        return bool(_members(group))
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _members(group: int) -> list[int]:
    """Living processes of the group and of its leader's session, as Linux tells them (proc(5)); none elsewhere."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        state, _, its_group, its_session = fields[:4]
        if str(group) in (its_group, its_session) and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    sys.stdin.read()
    end_group(int(sys.argv[1]), seconds=float(sys.argv[2]))
