"""Ends a process with everything that it started, in all cases. Also a program: the parent process of vLLM.

vLLM's own shutdown is not enough (0.32.0): it can hang if it is asked to end while it loads; a worker can outlive the
process that started it; and if its first process is killed, the others keep running. So `serve` starts this program,
and this program starts vLLM. It is a "child subreaper"
(https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html): all processes that vLLM starts stay its
descendants, also those that outlive their parent or open a session of their own. It ends when all of them have ended,
with vLLM's status, so the caller can simply wait for it.
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
"""Time for vLLM to end by itself: less than the ten seconds that Docker gives a container."""
KILL_SECONDS = 10.0
"""Time for killed processes to disappear: it can take long with much memory, or if a driver blocks them."""
_POLL_SECONDS = 0.05
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALLED = 128
"""Added to the number of the signal that ended a process, as in shells: 137 is "killed"."""


def start(argv: tuple[str, ...], env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start `argv` under this program, in a session and a process group of their own.

    The `stdout` of the returned process has the output of `argv`.
    To ask for the end, close its `stdin`. If the caller dies, the system closes it.
    The status is that of `argv`, or 128 plus the number of the signal that ended it.
    """
    # Isolated (-I) and without site (-S): it needs only the standard library, and starts at once.
    program = (sys.executable, "-I", "-S", __file__, str(SECONDS), *argv)
    return subprocess.Popen(
        program,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # So that Ctrl-C reaches only the caller.
    )


def members(root: int) -> set[int]:
    """The living descendants of `root` and members of its session, without `root` itself.

    The session finds processes whose parent `root` is dead already, so that they are no descendants any more.
    """
    children: dict[int, set[int]] = {}
    found, living = {root}, set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # It has just ended.
            continue
        process = int(stat.parent.name)
        state, parent, _, session = fields[:4]
        children.setdefault(int(parent), set()).add(process)
        if int(session) == root:
            found.add(process)
        if state not in "ZX":  # A zombie: dead, and only waiting to be reaped.
            living.add(process)
    pending = list(found)
    while pending:
        below = children.get(pending.pop(), set()) - found
        found |= below
        pending += below
    return found & living - {root}


def kill_all(root: int, reap: Callable[[], object] = lambda: None) -> set[int]:
    """Kill `members(root)` and wait until they are gone; returns those still there after KILL_SECONDS.

    Args:
        reap: reaps the dead, if they are children of the caller.
    """
    deadline = time.monotonic() + KILL_SECONDS
    # Listed again each time: a process can start others until it is killed.
    while (left := members(root)) and time.monotonic() < deadline:
        _send(signal.SIGKILL, left)
        time.sleep(_POLL_SECONDS)
        reap()
    return left


def _send(number: signal.Signals, processes: set[int]) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except (ProcessLookupError, PermissionError):  # It has ended, or it belongs to another user.
            continue


class _Reaper:
    """Runs one program; reaps it, and all processes that become our children when their parent ends."""

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
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these two signals, and children inherit that.
        )

    def run(self, seconds: float) -> int:
        """Wait until everything has ended, by itself or on request. Returns the status of the program."""
        self._wait()
        if self.status is None:
            _send(signal.SIGTERM, {self._leader})
        reported = False
        deadline = time.monotonic() + seconds
        while (left := members(os.getpid())) and time.monotonic() < deadline:
            if self.status is not None and not reported:
                # The program can no longer end them.
                _send(signal.SIGTERM, left)
                reported = True
            time.sleep(_POLL_SECONDS)
            self._reap()
        if left := kill_all(os.getpid(), self._reap):
            print(f"These processes cannot be killed: {', '.join(map(str, sorted(left)))}.", flush=True)
        self._reap()
        return _SIGNALLED + signal.SIGKILL if self.status is None else self.status

    def _wait(self) -> None:
        """Wait until the program has ended, a signal asks for the end, or the caller has closed our standard input."""
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
