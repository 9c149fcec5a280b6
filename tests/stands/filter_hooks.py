"""A Function filter's hooks, called as Open WebUI 0.12.4 calls them, with the little of Open WebUI that they ask for.

tests/integration/test_host_sources.py compares these calls with Open WebUI's sources.
"""

import asyncio
import copy
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.stands.chats import USER
from webui.bodies import Body

NEVER_SAVED = ("temporary:", "channel:")


class FilterHost:
    """Open WebUI around one filter. `stored` has what was changed in the record, by chat and message."""

    def __init__(self, function: Any, **valves: Any) -> None:
        self.function = function
        self.valves = valves
        self.models: dict[str, Body] = {"chat": {"id": "chat"}}
        self.stored: dict[tuple[str, str], Body] = {}

    @contextmanager
    def installed(self, data: Path) -> Iterator[None]:
        """The filter finds these modules."""
        contents: dict[str, dict[str, Any]] = {
            "open_webui": {},
            "open_webui.env": {"VERSION": "0.12.4", "DATA_DIR": data},
            "open_webui.models": {},
            "open_webui.models.chats": {
                "Chats": SimpleNamespace(upsert_message_to_chat_by_id_and_message_id=self._upsert)
            },
            "open_webui.utils": {},
            "open_webui.utils.chat_id": {"is_saved_chat_id": lambda chat: bool(chat) and not _is_passing(chat)},
        }
        for name, content in contents.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(content)
        try:
            yield
        finally:
            for name in contents:
                del sys.modules[name]

    async def _upsert(self, chat: str, message: str, changes: Body) -> Body:
        self.stored.setdefault((chat, message), {}).update(changes)
        return changes

    async def call(self, hook: str, value: Body, offered: Body) -> Body:
        """Call a hook with the parameters that it names, and with valves made anew."""
        self.function.valves = self.function.Valves(**self.valves)
        handler = getattr(self.function, hook)
        wanted = inspect.signature(handler).parameters
        first = "event" if hook == "stream" else "body"
        result: Body = await handler(**{first: value}, **{name: offered[name] for name in offered if name in wanted})
        return result


def _is_passing(chat: str) -> bool:
    return chat.startswith(NEVER_SAVED)


class HookedRequest:
    """One answer on its way through the hooks: of a page, or of a program.

    Args:
        host: calls them.
        on_page: whether a page reads it.
        model: that was picked.
        beside: another answer to the same request.
        chat: the id of the chat.
        message: the id of the answer.
    """

    def __init__(
        self,
        host: FilterHost,
        *,
        on_page: bool = True,
        model: Body | None = None,
        beside: "HookedRequest | None" = None,
        chat: str = "c1",
        message: str = "m2",
    ) -> None:
        self._host = host
        app = SimpleNamespace(state=SimpleNamespace(MODELS=host.models))
        self.request: Any = beside.request if beside else SimpleNamespace(state=SimpleNamespace(), app=app)
        self.model = model or {"id": "chat"}
        self.metadata: Body = {
            "chat_id": chat if on_page else "",
            "message_id": message if on_page else None,
            "session_id": "s1" if on_page else None,
            "user_message_id": "m1" if on_page else None,
        }
        self.emitted: list[Body] = []
        self._on_page = on_page
        self.stopped = False
        """Whether the filter stopped the making of the answer."""

    @property
    def _offered(self) -> Body:
        return {
            "__user__": dict(USER),
            "__request__": self.request,
            "__metadata__": self.metadata,
            "__model__": self.model,
            "__chat_id__": self.metadata["chat_id"],
            "__message_id__": self.metadata["message_id"],
            "__event_emitter__": self._emit if self._on_page else None,
        }

    async def _emit(self, event: Body) -> None:
        self.emitted.append(event)

    async def ask(self, *messages: Body, **fields: Any) -> Body:
        """Inlet, then request. What the model is sent."""
        body: Body = {"model": self.model["id"], "stream": True, "messages": list(messages), **fields}
        return await self.round(await self._host.call("inlet", body | {"metadata": self.metadata}, self._offered))

    async def round(self, body: Body) -> Body:
        """Another call of the model, for the results of tools."""
        return await self._host.call("request", copy.deepcopy(body), self._offered)

    async def show(self, events: Iterable[Body], pause: float = 0) -> list[Body]:
        """Stream: the events that are shown."""
        shown = []
        for event in events:
            await asyncio.sleep(pause)
            try:
                passed = await self._host.call("stream", copy.deepcopy(event), self._offered)
            except asyncio.CancelledError:
                self.stopped = True
                break
            if passed:
                shown.append(passed)
        return shown

    async def end(self, *messages: Body) -> Body:
        """Outlet. What the host is to store."""
        body = {
            "model": self.model["id"],
            "messages": list(messages),
            "chat_id": self.metadata["chat_id"],
            "id": self.metadata["message_id"],
        }
        return await self._host.call("outlet", body, self._offered)
