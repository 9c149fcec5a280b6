"""Appends audit lines to a file for each day. Lines are always complete, even if the disk fails."""

import errno
import os
import stat
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

_OTHERS_WRITE_SECONDS = 0.01
# A full disk is temporary, so it is no reason to choose another path.
_PASSING_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EINTR}


class AuditFile:
    """Appends lines to "audit-2026-11-21.jsonl" (UTC) for the path "audit.jsonl". Several processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: bytes) -> None:
        """Write `line`, which has no line break, in whole or not at all.

        Raises:
            OSError, ValueError: the line is not in the file.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Not blocking: a pipe that nobody reads would block the writer for ever.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        file = os.open(_file_of_today(self.path), flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            # A process that was killed, or a full disk, may have left half a line there.
            torn, size = _is_torn(file)
            _write_whole(file, (b"\n" if torn else b"") + line + b"\n", size)
        finally:
            os.close(file)


def checked_audit_path(value: str) -> Path:
    """`value` as a path at which audit files can be created. Leaves nothing on the disk.

    Raises:
        ValueError: they cannot; the message has cause and remedy, without the path itself.
    """
    path = Path(value)
    if not value.isprintable():
        raise ValueError("it has characters that no file's name can have: name a file, such as /var/log/audit.jsonl")
    try:
        if value.endswith(("/", os.sep)) or path.name in ("", "..") or path.is_dir():
            raise ValueError("it is a folder: name a file in it, such as audit.jsonl")
        for file in (path, _file_of_today(path)):
            if _file_exists(file) and not file.is_file():
                raise ValueError("it is a device, a folder or a pipe: name a regular file")
        _try_file(_file_of_today(path))
    except OSError as error:
        if error.errno not in _PASSING_ERRORS:
            why = error.strerror or type(error).__name__
            raise ValueError(
                f"no file can be written there ({why}): name one in a folder that can be written"
            ) from None
    return path


def _file_of_today(path: Path) -> Path:
    return path.with_stem(f"{path.stem}-{datetime.now(UTC):%Y-%m-%d}")


def _file_exists(path: Path) -> bool:
    """Raises OSError if that cannot be determined, such as for a name that is too long."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _try_file(file: Path) -> None:
    """Raises OSError if `file`, or its missing parent folders, could not be created or written."""
    if _file_exists(file):
        os.close(os.open(file, os.O_RDWR | os.O_APPEND))
        return
    folder = file.parent
    while not _file_exists(folder):
        folder = folder.parent
    for part in file.relative_to(folder).parts:
        # In a missing folder, the system does not detect a name that is too long.
        _file_exists(folder / part)
    # Has no name, so no other process can open it. Access rights alone are not enough: the disk may be read-only.
    with tempfile.TemporaryFile(dir=folder):
        pass


def _is_torn(file: int) -> tuple[bool, int]:
    """Whether the file ends with an incomplete line, and its size in bytes."""
    size = os.fstat(file).st_size
    while size:
        os.lseek(file, size - 1, os.SEEK_SET)
        if os.read(file, 1) in (b"\n", b""):
            break
        # Another process may be writing now, and its line may be incomplete for a moment.
        time.sleep(_OTHERS_WRITE_SECONDS)
        before, size = size, os.fstat(file).st_size
        if size == before:
            return True, size
    return False, size


def _write_whole(file: int, line: bytes, size: int) -> None:
    """Write all in one call, which lines of other processes cannot split, unless the disk accepts only a part."""
    written = 0
    try:
        while written < len(line):
            taken = os.write(file, line[written:])
            if not taken:
                raise OSError(errno.ENOSPC, "the disk takes no more")
            written += taken
    except OSError:
        # Half a line would make the next one unreadable, too. Lines of others after it stay.
        with suppress(OSError):
            if written and os.fstat(file).st_size == size + written:
                os.ftruncate(file, size)
        raise
