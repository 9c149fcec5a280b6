"""A Function filter with all four hooks that does nothing. Its cost is Open WebUI's own share.

`benchmarks.functions_bench` installs it.
"""

from typing import Any


class Filter:
    """The class that Open WebUI loads."""

    async def inlet(self, body: dict[str, Any], __metadata__: object = None, __request__: object = None) -> Any:
        return body

    async def request(self, body: dict[str, Any], __metadata__: object = None, __request__: object = None) -> Any:
        return body

    async def stream(self, event: dict[str, Any], __metadata__: object = None, __request__: object = None) -> Any:
        return event

    async def outlet(self, body: dict[str, Any], __metadata__: object = None, __request__: object = None) -> Any:
        return body
