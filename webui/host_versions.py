"""What versions of Open WebUI can do."""

import re

# Those that take back a shown answer after a `retraction_chunk`, as tested.
_RETRACTING = ((0, 12),)


def takes_back(version: object) -> bool:
    """Whether this version takes back a shown answer. False for one that nobody knows."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})", str(version))
    return found is not None and (int(found[1]), int(found[2])) in _RETRACTING
