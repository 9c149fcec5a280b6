"""The requests that Open WebUI makes to the Pipelines server for one turn, and figures of the server process."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.long_chats import Message, new_text
from benchmarks.streamed_run import Run, streamed_run
from tests.stands.processes.pipelines_server import FILTER

MODELS = "qwen3guard_models"
PROBE_FILE, RELAY_FILE = (Path(__file__).with_name(f"{name}.py") for name in ("probe_filter", "relay_pipe"))
PROBE, RELAY = PROBE_FILE.stem, RELAY_FILE.stem
_USER = {"id": "u", "role": "user", "name": "Ann", "email": "ann@localhost"}
_ANSWER_TOKENS, _ANSWER_PACE_MS = 150, 3


class HostCalls:
    """Calls to a server with the filter, the guarded models, the probe and the relay."""

    def __init__(self, http: httpx.AsyncClient, url: str, guard: str) -> None:
        self.http, self._url, self._guard = http, url, guard

    async def filtered(self, messages: list[Message], by: str = FILTER, *, answer: str | None = None) -> None:
        """Call the inlet; and the outlet with the answer, if there is one."""
        await self._filter(by, "inlet", messages)
        if answer is not None:
            said = {"id": f"m{len(messages)}", "role": "assistant", "content": answer}
            await self._filter(by, "outlet", [*messages, said])

    async def guarded(
        self, messages: list[Message], *, tokens: int = _ANSWER_TOKENS, pace: int = _ANSWER_PACE_MS
    ) -> Run:
        """An answer through a guarded model."""
        return await self._streamed(f"{MODELS}.paced", messages, tokens, pace)

    async def relayed(self, messages: list[Message]) -> Run:
        """The least that the server does for such a request: relay one token."""
        return await self._streamed(RELAY, messages, 1, 1)

    async def _streamed(self, model: str, messages: list[Message], tokens: int, pace: int) -> Run:
        body = {"model": model, "messages": messages, "max_tokens": tokens, "seed": pace, "user": _USER}
        run = await streamed_run(self.http, f"{self._url}/chat/completions", body)
        if not run.text.startswith("word000 ") or "\n" in run.text:
            raise RuntimeError(f"a harmless answer was not passed on: {run.text[:300]}")
        return run

    async def _filter(self, by: str, direction: str, messages: list[Message]) -> None:
        body = {"model": "chat", "chat_id": "c", "id": messages[-1]["id"], "messages": messages}
        sent = {"body": body, "user": _USER}
        reply = (await self.http.post(f"{self._url}/{by}/filter/{direction}", json=sent)).raise_for_status()
        shown = [message["content"] for message in reply.json()["messages"]]
        if shown != [message["content"] for message in messages]:
            raise RuntimeError(f"a harmless {direction} was changed")

    async def set_valves(self, plugin: str, **values: Any) -> None:
        url = f"{self._url}/{plugin}/valves"
        valves = (await self.http.get(url)).raise_for_status().json()
        (await self.http.post(f"{url}/update", json=valves | values)).raise_for_status()

    async def cpu_ms(self, work: Awaitable[object]) -> float:
        """Processor time of the whole server process for `work`, plus about a millisecond for measuring."""
        before = (await self._probe(watch=False))["cpu_s"]
        await work
        return ((await self._probe(watch=False))["cpu_s"] - before) * 1000

    async def block_ms(self, work: Awaitable[object]) -> float:
        """The longest block of the server's event loop during `work`."""
        await self._probe(watch=True)
        await work
        return (await self._probe(watch=False))["block_s"] * 1000

    async def _probe(self, *, watch: bool) -> dict[str, float]:
        body = {"model": "chat", "messages": [], "probe": "watch" if watch else "read"}
        reply = await self.http.post(f"{self._url}/{PROBE}/filter/inlet", json={"body": body})
        figures: dict[str, float] = reply.raise_for_status().json()
        return figures

    async def guard_counts(self) -> dict[str, int]:
        """Counts of requests to the guard since the last call."""
        counts: dict[str, int] = (await self.http.get(f"{self._guard}/counts")).raise_for_status().json()
        return counts

    async def set_guard_seconds(self, seconds: float) -> None:
        (await self.http.post(f"{self._guard}/delay", json=seconds)).raise_for_status()

    async def bystander(self) -> float:
        """Milliseconds to the first text of another user's answer."""
        messages = [{"id": "b", "role": "user", "content": new_text("English", 60)}]
        return (await self.guarded(messages, tokens=10, pace=1)).first * 1000
