"""The steps that set a plugin's valves, in any host."""

from collections.abc import Callable, Iterator
from typing import Any

from guard_server.install.kept_place import KeptPlace
from guard_server.install.options import Options
from guard_server.install.steps import Put, PutSecret, SetupStep


def valve_steps(
    plugin: str, options: Options, valves: dict[str, Any], place: Callable[[tuple[str, ...]], KeptPlace]
) -> Iterator[SetupStep]:
    """Sets `valves` and what the options say of the guard; its key is never shown.

    Args:
        plugin: its id.
        options: of the installation.
        valves: by their names.
        place: where valves of these names are kept.
    """
    if options.guard_url is not None:
        valves = valves | {"guard_base_url": options.guard_url}
    if valves:
        yield Put(f"Set {', '.join(valves)} in the valves of {plugin}", place(tuple(valves)), valves)
    if options.guard_key is not None:
        key = {"guard_api_key": options.guard_key}
        yield PutSecret(f"Set the guard's key in the valves of {plugin}", place(tuple(key)), key)
