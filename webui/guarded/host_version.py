"""What a version of Open WebUI can do."""

import re

# The versions that, as tested, take back a shown answer after a `retraction_chunk`.
_RETRACTING = ((0, 12),)


def can_retract(version: object) -> bool:
    """Whether this Open WebUI takes back what it has shown. One whose version says nothing cannot."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})", str(version))
    return found is not None and (int(found[1]), int(found[2])) in _RETRACTING
