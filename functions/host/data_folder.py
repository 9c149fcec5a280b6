"""Where Open WebUI keeps its data."""

from pathlib import Path

from functions.host.host_modules import from_host


def data_folder() -> Path:
    """A folder of ours. Not in the cache, whose files every user can fetch.

    Raises:
        HostChanged
    """
    return Path(from_host("env", "DATA_DIR")) / "qwen3guard"
