"""The plugins of ours that an Open WebUI has, with the values of their valves."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from guard_server.errors import WebuiRefused
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.records import Function, Pipeline, PipelinesServer
from guard_server.open_webui.survey import Survey
from guard_server.open_webui.workers import from_all_workers
from moderation.notices.notice import NoticeKind

OURS = "qwen3guard"
"""The beginning of the ids and titles of our plugins."""
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
    in_all_workers: bool = True
    """Whether none of those reads came to a worker that has not loaded it."""

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
        _piped(client, server, pipeline)
        for server in found.pipelines
        for pipeline in server.pipelines
        if _is_ours(pipeline.id)
    ]
    return (*functions, *piped)


def _piped(client: WebuiClient, server: PipelinesServer, pipeline: Pipeline) -> Plugin:
    reads: list[dict[str, Any] | None] = [{}]
    if pipeline.has_valves:
        reads = _reads(client, server, pipeline.id)
        if _differ(reads):
            # Something was saved a moment ago.
            time.sleep(_FOLLOW_SECONDS)
            reads = _reads(client, server, pipeline.id)
    loaded = [read for read in reads if read is not None]
    return Plugin(
        pipeline.id,
        pipeline.type == "filter",
        loaded[-1] if loaded else {},
        server,
        workers_agree=not _differ(loaded),
        in_all_workers=len(loaded) == len(reads),
    )


def _reads(client: WebuiClient, server: PipelinesServer, plugin: str) -> list[dict[str, Any] | None]:
    """The valves, as the workers have them; None for one that has not loaded the plugin."""

    def read() -> dict[str, Any] | None:
        try:
            valves: dict[str, Any] = client.get(f"/api/v1/pipelines/{plugin}/valves", urlIdx=server.connection.index)
        except WebuiRefused:
            return None
        return valves

    return from_all_workers(read)


def _differ(reads: Sequence[object]) -> bool:
    return any(read != reads[0] for read in reads)


def _is_ours(name: str) -> bool:
    return name.startswith(OURS)
