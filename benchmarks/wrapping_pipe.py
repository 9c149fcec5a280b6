"""The least that a Function can do that wraps a model of the same Open WebUI: relay. Its cost is the host's own share.

`benchmarks.functions_bench` installs it.
"""

from typing import Any


class Pipe:
    """The class that Open WebUI loads."""

    def pipes(self) -> list[dict[str, str]]:
        return [{"id": "paced", "name": "paced"}]

    async def pipe(self, body: dict[str, Any], __user__: dict[str, Any], __request__: Any) -> Any:
        from open_webui.models.users import Users  # type: ignore[import-not-found]
        from open_webui.utils.chat import generate_chat_completion  # type: ignore[import-not-found]

        user = await Users.get_user_by_id(__user__["id"])
        return await generate_chat_completion(__request__, {**body, "model": "paced"}, user, bypass_filter=True)
