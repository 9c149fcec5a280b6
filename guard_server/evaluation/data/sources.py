"""Loads the labelled rows that the command line names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from guard_server.errors import UnreadableData
from guard_server.evaluation.data import hub, rows
from guard_server.evaluation.data.rows import Row


def chosen(names: Sequence[str], splits: Sequence[str]) -> list[Row]:
    """The rows of all of `names`.

    Args:
        names: of files, folders, or data sets on the hub; `id=folder` is a local copy of a data set.
        splits: only rows of these splits; all if it is empty.

    Raises:
        UnreadableData: a name is unknown, a line is not a row, or no row is left.
        HubUnreachable: see `hub.read`.
    """
    found = [row for name in names for row in _read(name) if not splits or row.split in splits]
    if not found:
        raise UnreadableData("There is no row to judge.", "Check --data and --split.")
    return found


def _read(name: str) -> Iterator[Row]:
    if (path := Path(name).expanduser()).exists():
        return rows.read(path)
    hub_id, _, copy = name.partition("=")
    if copy and not Path(copy).expanduser().is_dir():
        raise UnreadableData(f"There is no folder {copy}.", f"Name a copy of {hub_id}: --data {hub_id}=FOLDER.")
    return hub.read(hub_id, Path(copy).expanduser() if copy else None)
