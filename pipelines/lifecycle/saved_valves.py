"""What the Pipelines server keeps of a plugin's valves, in a file that it cannot start with if it is broken."""

import json
from pathlib import Path


def mend_saved_valves(home: Path) -> str | None:
    """Set a valves.json aside that is not a JSON object: the server would not start with it.

    Args:
        home: the plugin's folder, where the server keeps its valves: named like its file, next to it.

    Returns:
        What was done, in words for the log; None if nothing was wrong.
    """
    saved = home / "valves.json"
    try:
        if not saved.exists() or isinstance(json.loads(saved.read_text()), dict):
            return None
    except (OSError, ValueError):
        pass
    broken = saved.with_suffix(".broken.json")
    try:
        saved.replace(broken)
        saved.write_text("{}")
    except OSError as error:
        return f"{saved} is not a JSON object and cannot be replaced: {error}"
    return f"{saved} was not a JSON object: it is kept as {broken.name}, and defaults are used"
