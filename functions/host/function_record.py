"""What an admin has switched on among the Functions."""

from functions.host.host_modules import from_host


async def is_on_for_all(function: str) -> bool:
    """Whether a filter is active, and global, so that every model has it.

    Raises:
        HostChanged
    """
    return (function, True) in [
        tuple(one) for one in await from_host("models.functions", "Functions").get_active_filter_ids()
    ]
