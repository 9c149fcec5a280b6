"""Which Open WebUI this is."""

from functions.host.host_modules import HostChanged, from_host


def own_version() -> str | None:
    """The version; None if this Open WebUI does not say it."""
    try:
        return str(from_host("env", "VERSION"))
    except HostChanged:
        return None
