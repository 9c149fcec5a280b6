"""Ending a process with everything that it started, for certain. Also a program: the parent that vLLM runs under.

vLLM's own way out is not enough (0.32.0): asked to end while it loads it can hang; a worker can outlive the process
that started it; and when its first process is killed the others stay. So `serve` starts this program, and this program
starts vLLM. It is a "child subreaper" (https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html):
whatever vLLM starts stays below it in the tree of processes, even what outlives its parent or opens a session of its
own. It ends when all of that has ended, with vLLM's status, and so does whoever waits for it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS = 8.0
"""For vLLM to end by itself: less than the ten that Docker gives a container."""
KILL_SECONDS = 10.0
"""For killed processes to be gone: one that holds much memory, or that a driver holds, takes its time."""
_POLL_SECONDS = 0.05
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALLED = 128
"""Added to the number of the signal that ended a process, as shells do: 137 is "killed"."""


def start(argv: tuple[str, ...], env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start `argv` under this program, in a session and a process group of their own.

    The output of `argv` comes from `stdout` of what is returned.
    Closing `stdin` of what is returned asks for the end, and so does the caller's own death: the system closes it then.
    The status is that of `argv`, or 128 and the number of the signal that ended it.
    """
    # Isolated (-I) and without site (-S): it needs the standard library alone, and is there at once.
    program = (sys.executable, "-I", "-S", __file__, str(SECONDS), *argv)
    return subprocess.Popen(
        program,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches the caller alone.
    )


def members(root: int) -> set[int]:
    """The living processes below `root` or in its session, `root` itself left out.

    The session counts because it is still known when `root` is dead and its children hang elsewhere in the tree.
    """
    children: dict[int, set[int]] = {}
    found, living = {root}, set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # It ended while we looked.
            continue
        process = int(stat.parent.name)
        state, parent, _, session = fields[:4]
        children.setdefault(int(parent), set()).add(process)
        if int(session) == root:
            found.add(process)
        if state not in "ZX":  # Dead, and only waiting to be collected.
            living.add(process)
    pending = list(found)
    while pending:
        below = children.get(pending.pop(), set()) - found
        found |= below
        pending += below
    return found & living - {root}


def kill_all(root: int, reap: Callable[[], object] = lambda: None) -> set[int]:
    """Kill `members(root)` and wait until they are gone; returns those that are not after KILL_SECONDS.

    Args:
        reap: collects the dead, if they are children of the caller.
    """
    deadline = time.monotonic() + KILL_SECONDS
    # Each time anew: until it is killed, a process can start others.
    while (left := members(root)) and time.monotonic() < deadline:
        _send(signal.SIGKILL, left)
        time.sleep(_POLL_SECONDS)
        reap()
    return left


def _send(number: signal.Signals, processes: set[int]) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except (
            ProcessLookupError,
            PermissionError,
        ):  # It is no more, or another user's: what stays is said at the end.
            continue


class _Reaper:
    """Runs one program; collects the status of it and of all that becomes a child of ours when its parent ends."""

    def __init__(self, argv: list[str]) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.status: int | None = None
        self._wakeup, write = os.pipe()
        for end in (self._wakeup, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGCHLD, *ENDING):
            signal.signal(number, lambda *_: None)
        self._leader = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these two, and what is ignored is inherited.
        )

    def run(self, seconds: float) -> int:
        """Until all has ended: by itself, or because somebody asked. Returns the status of the program."""
        self._wait()
        if self.status is None:
            _send(signal.SIGTERM, {self._leader})
        told = False
        deadline = time.monotonic() + seconds
        while (left := members(os.getpid())) and time.monotonic() < deadline:
            if self.status is not None and not told:
                # Nobody is left who would tell them.
                _send(signal.SIGTERM, left)
                told = True
            time.sleep(_POLL_SECONDS)
            self._reap()
        if left := kill_all(os.getpid(), self._reap):
            print(f"These processes cannot be killed: {', '.join(map(str, sorted(left)))}.", flush=True)
        self._reap()
        return _SIGNALLED + signal.SIGKILL if self.status is None else self.status

    def _wait(self) -> None:
        """Until the program has ended, a signal asks for the end, or the caller has closed our standard input."""
        while self.status is None:
            ready, _, _ = select.select([0, self._wakeup], [], [])
            asked = self._wakeup in ready and set(os.read(self._wakeup, 4096)) & set(ENDING)
            if asked or (0 in ready and not os.read(0, 4096)):
                return
            self._reap()

    def _reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            if process == self._leader:
                code = os.waitstatus_to_exitcode(status)
                self.status = _SIGNALLED - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(_Reaper(sys.argv[2:]).run(float(sys.argv[1])))
