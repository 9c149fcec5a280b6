"""Which Open WebUI this is."""

from functions.host.host_modules import HostChanged, from_host
from webui.host_versions import takes_back


def page_takes_back() -> bool:
    """Whether the page takes back a shown answer."""
    try:
        return takes_back(from_host("env", "VERSION"))
    except HostChanged:
        return False
