"""The plugins of ours that an Open WebUI has, with the values of their valves."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from guard_server.errors import WebuiRefused
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Function, PipelinesServer
from guard_server.open_webui.survey import Survey
from moderation.notices.notice import NoticeKind

OURS = "qwen3guard"
"""The beginning of the ids and titles of our plugins."""
# Requests for the valves of one plugin: each may reach another worker.
_READS = 8
_PAUSE_SECONDS = 0.05
# Workers that share a folder follow each other within one second (pipelines/lifecycle/shared_valves.py).
_FOLLOW_SECONDS = 2
_NOTICE_VALVES = {
    "notice_prompt": NoticeKind.PROMPT_REFUSED,
    "notice_answer": NoticeKind.ANSWER_WITHHELD,
    "notice_unchecked": NoticeKind.NOT_CHECKED,
}
_NO_TEXT = ("", "default", "none")


@dataclass(frozen=True)
class Plugin:
    """One of ours. `server`: of the Pipelines server that runs it, `function`: if Open WebUI itself does."""

    id: str
    is_filter: bool
    valves: dict[str, Any] = field(repr=False)
    server: PipelinesServer | None = None
    function: Function | None = None
    workers_agree: bool = True
    """Whether all reads of its valves gave the same."""

    def notices(self) -> Iterator[tuple[NoticeKind, str]]:
        """The admin's own texts."""
        for name, kind in _NOTICE_VALVES.items():
            text = str(self.valves.get(name) or "").strip()
            if text.lower() not in _NO_TEXT:
                yield kind, text


def our_plugins(client: WebuiClient, found: Survey) -> tuple[Plugin, ...]:
    """Raises WebuiError."""
    functions = [
        Plugin(one.id, one.type == "filter", dict(one.valves), function=one)
        for one in found.functions
        if _is_ours(one.id) or _is_ours(str((one.meta.get("manifest") or {}).get("title") or ""))
    ]
    piped = [
        _piped(client, server, pipeline.id, is_filter=pipeline.type == "filter")
        for server in found.pipelines
        for pipeline in server.pipelines
        if _is_ours(pipeline.id)
    ]
    return (*functions, *piped)


def _piped(client: WebuiClient, server: PipelinesServer, plugin: str, *, is_filter: bool) -> Plugin:
    try:
        valves, agree = _read(client, server, plugin)
        if not agree:
            # Something was saved a moment ago.
            time.sleep(_FOLLOW_SECONDS)
            valves, agree = _read(client, server, plugin)
    except WebuiRefused:
        # A pipe without valves.
        return Plugin(plugin, is_filter, {}, server)
    return Plugin(plugin, is_filter, valves, server, workers_agree=agree)


def _read(client: WebuiClient, server: PipelinesServer, plugin: str) -> tuple[dict[str, Any], bool]:
    """The valves, and whether all workers that answered have the same."""
    reads: list[dict[str, Any]] = []
    for _ in range(_READS):
        time.sleep(_PAUSE_SECONDS)
        reads.append(client.get(f"/api/v1/pipelines/{plugin}/valves", urlIdx=server.connection.index))
    return reads[-1], all(read == reads[0] for read in reads)


def _is_ours(name: str) -> bool:
    return name.startswith(OURS)
