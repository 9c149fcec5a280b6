"""Reads the data sets of `hub_sets`, from the hub or from a copy on this machine.

A copy in the hub's layout (as made by `hf download --repo-type dataset --local-dir`) is read in the same way, without a
network.
"""

from collections.abc import Iterator
from pathlib import Path

from guard_server.errors import HubUnreachable, UnreadableData
from guard_server.evaluation.data.hub_sets import SETS, View
from guard_server.evaluation.data.rows import Row


def read(name: str, copy: Path | None = None) -> Iterator[Row]:
    """The rows of a data set, from the hub or from a `copy` in its layout.

    Raises:
        UnreadableData: this data set is not in `hub_sets`, or the copy has another layout.
        HubUnreachable: it is neither on the hub nor in the hub's cache on this machine.
    """
    known = SETS.get(name)
    if known is None:
        raise UnreadableData(
            f"{name!r} is neither a file or folder nor a data set that eval knows.",
            f"Check the path; supported data sets, by their hub id: {', '.join(SETS)}.",
        )
    for view in known.views:
        yield from _rows(view, name, known.config, copy)


def _rows(view: View, name: str, config: str | None, copy: Path | None) -> Iterator[Row]:
    import datasets  # Takes seconds, and local files do not need it.
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    datasets.disable_progress_bars()
    try:
        records = datasets.load_dataset(str(copy or name), config, split=view.split)
    except (ConnectionError, DatasetNotFoundError) as error:
        raise HubUnreachable(
            f"{name} cannot be read from the hub: {error}",
            f"Check the network and, for a gated set, `hf auth login`; or name a copy: --data {name}=FOLDER.",
        ) from error
    except (ValueError, OSError, DatasetGenerationError) as error:
        raise UnreadableData(
            f"{copy or name} cannot be read as {name}: {error}", "Copy the data set again, including its README.md."
        ) from error
    try:
        yield from (row for record in records if (row := view.row(name, record)))
    except KeyError as error:
        raise UnreadableData(
            f"{copy or name}, split {view.split}: eval does not know the column or value {error} there.",
            "The data set has changed, or this is a copy of another one.",
        ) from error
