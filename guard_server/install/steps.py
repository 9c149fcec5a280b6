"""The steps of an installation. A step that was done before is not done again."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from guard_server.console_output import enumerated
from guard_server.errors import CannotInstall, WebuiRefused
from guard_server.install.kept_place import KeptPlace
from guard_server.install.pipeline_places import UPLOADS, PipelineFile
from guard_server.install.setting_places import ConnectionSwitch, PipelinesConnection
from guard_server.install.undo_record import Change, UndoRecord
from guard_server.open_webui.chat_replies import chat_reply, plugin_version
from guard_server.open_webui.client import WebuiClient
from guard_server.open_webui.survey import models
from guard_server.open_webui.workers import from_all_workers
from guard_server.probe_prompts import ProbePrompts

Say = Callable[[str], None]

# Open WebUI asks all its connections, of which each may take ten seconds.
_LIST_SECONDS = 90
_SLOW_SECONDS = 1
# In which all workers of a Pipelines server have new valves, and ask a guard that was away before.
_VERDICT_SECONDS = 5
_PAUSE_SECONDS = 0.5


class SetupStep(Protocol):
    """`place` is what it changes; None if nothing has to be put back. `closing`: connections that are off meanwhile."""

    @property
    def title(self) -> str: ...

    @property
    def place(self) -> KeptPlace | None: ...

    @property
    def closing(self) -> Sequence[ConnectionSwitch]: ...

    def is_done(self, client: WebuiClient) -> bool | None:
        """None of what changes nothing, and is tried in each run."""

    def do(self, client: WebuiClient) -> None: ...


@dataclass(frozen=True)
class Put:
    """Puts a value in a place. With `keep`, whatever is there already stays."""

    title: str
    place: KeptPlace
    wanted: Any = field(repr=False)
    keep: bool = False
    closing: tuple[()] = ()

    def is_done(self, client: WebuiClient) -> bool:
        now = self.place.read(client)
        return now is not None if self.keep else bool(now == self.wanted)

    def do(self, client: WebuiClient) -> None:
        self.place.write(client, self.wanted)


@dataclass(frozen=True)
class PutSecret:
    """Sets valves that no file may hold: what was there before cannot be put back."""

    title: str
    where: KeptPlace
    wanted: Any = field(repr=False)
    place: None = None
    closing: tuple[()] = ()

    def is_done(self, client: WebuiClient) -> bool:
        return bool(self.where.read(client) == self.wanted)

    def do(self, client: WebuiClient) -> None:
        self.where.write(client, self.wanted)


@dataclass(frozen=True)
class Upload:
    """Uploads a file to a Pipelines server.

    `replace`: also over one that is there. With connections in `closing` nothing passes while the server loads its
    filter again.
    """

    title: str
    place: PipelineFile
    text: str = field(repr=False)
    replace: bool = False
    closing: tuple[ConnectionSwitch, ...] = ()

    def is_done(self, client: WebuiClient) -> bool:
        return not self.replace and all(self.place.looks(client))

    def do(self, client: WebuiClient) -> None:
        self._upload(client)
        if self.closing:
            _wait_for(client, {self.place.plugin})

    def _upload(self, client: WebuiClient) -> None:
        """Until all workers have loaded it: an upload reaches one of them."""
        for _ in range(UPLOADS):
            self.place.upload(client, self.text)
            seen = self.place.looks(client)
            if all(seen):
                return
            # The server reports success for a file that it could not load, and moves it away.
            if not any(seen):
                raise CannotInstall(
                    f"The Pipelines server could not load {self.place.plugin}.py.", "Its log has the reason."
                )
        raise CannotInstall(
            f"Not all workers of the Pipelines server have loaded {self.place.plugin}.py.",
            "They must share one folder of plugins: restart the server, and run the command again.",
        )


@dataclass(frozen=True)
class WaitForModels:
    """Waits until Open WebUI lists these models: from here on users can be sent to them."""

    title: str
    wanted: tuple[str, ...]
    remedy: str
    place: None = None
    closing: tuple[()] = ()

    def is_done(self, client: WebuiClient) -> bool:
        return not _missing(client, set(self.wanted))

    def do(self, client: WebuiClient) -> None:
        missing = _wait_for(client, set(self.wanted))
        if missing:
            raise CannotInstall(f"Open WebUI does not list {enumerated(sorted(missing))}.", self.remedy)


@dataclass(frozen=True)
class AskForVerdict:
    """Asks a model through Open WebUI, as the admin: the plugin that judges it must reach its guard.

    An older plugin, or one that judges no admins, says nothing about it, and does not stop the installation.
    """

    title: str
    model: str
    remedy: str
    place: None = None
    closing: tuple[()] = ()

    def is_done(self, client: WebuiClient) -> None:
        return None

    def do(self, client: WebuiClient) -> None:
        deadline = time.monotonic() + _VERDICT_SECONDS
        while True:
            answer = self._answer(client)
            if not answer or plugin_version(answer) is not None:
                return
            if time.monotonic() > deadline:
                raise CannotInstall(f"The plugin gets no verdict: {answer}", self.remedy)
            time.sleep(_PAUSE_SECONDS)

    def _answer(self, client: WebuiClient) -> str:
        prompt = ProbePrompts(secrets.token_hex(4)).unsafe
        body = {"model": self.model, "stream": True, "messages": [{"role": "user", "content": prompt}]}
        return chat_reply(client.reply("POST", "/api/chat/completions", json=body)).told_admin


def carry_out(client: WebuiClient, steps: Sequence[SetupStep], record: UndoRecord, say: Say) -> int:
    """Does what is not done yet, and returns how many changes that were."""
    changes = 0
    for step in steps:
        was_done = step.is_done(client)
        if not was_done:
            say(step.title)
            if step.place is not None:
                record.note(step.place, step.place.read(client))
            with _closed(client, step.closing, record):
                step.do(client)
            changes += was_done is not None
        if step.place is not None and (not was_done or record.is_open(step.place)):
            record.settle(step.place, step.place.read(client))
    return changes


@contextmanager
def _closed(client: WebuiClient, switches: Sequence[ConnectionSwitch], record: UndoRecord) -> Iterator[None]:
    """Connections are off inside."""
    try:
        for switch in switches:
            record.close(switch, switch.read(client))
            switch.write(client, False)
        yield
    finally:
        open_again(client, record)


def open_again(client: WebuiClient, record: UndoRecord) -> list[KeptPlace]:
    """Switches on what a step has closed, or a run that was killed in it, and returns that."""
    closed = record.closed()
    for change in closed:
        change.place.write(client, change.before)
    record.opened()
    return [change.place for change in closed]


def undo(client: WebuiClient, record: UndoRecord, say: Say, *, dry_run: bool = False) -> list[str]:
    """Puts back what was before, the last change first, and returns what was left as it is, with the reason.

    Args:
        dry_run: says it only.
    """
    left: list[str] = []
    needed: set[str] = set()

    def put_back(change: Change) -> None:
        say(f"{'To undo' if dry_run else 'Undoing'}: {change.place}")
        if not dry_run:
            change.place.write(client, change.before)

    def forget(change: Change) -> None:
        if not dry_run:
            record.forget(change)

    changes = record.changes()
    made = {getattr(change.place, "plugin", None) for change in changes if _is_plugin(change) and change.before is None}
    for change in changes:
        place = change.place
        if not _is_plugin(change) and getattr(place, "plugin", None) in made:
            # It goes with its plugin.
            forget(change)
            continue
        try:
            now = place.read(client)
            if now and isinstance(place, PipelinesConnection) and place.url in needed:
                left.append(f"{place}: a plugin of it is left")
                continue
            if (now is not None and change.before is None) or (now != change.before and change.is_ours(now)):
                put_back(change)
            elif now != change.before:
                left.append(f"{place}: it was changed since, and is left as it is")
        except (WebuiRefused, CannotInstall) as error:
            left.append(f"{place}: {error.cause} {error.remedy}")
            needed.add(getattr(place, "server", ""))
            continue
        forget(change)
    return left


def _is_plugin(change: Change) -> bool:
    return change.place.kind in ("function", "pipeline")


def _wait_for(client: WebuiClient, wanted: set[str]) -> set[str]:
    """Those that are still missing when the time is up. Each worker of Open WebUI has a list of its own."""
    deadline = time.monotonic() + _LIST_SECONDS
    while True:
        missing = _missing(client, wanted)
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(_PAUSE_SECONDS)


def _missing(client: WebuiClient, wanted: set[str]) -> set[str]:
    """Those that any worker does not list. Only one is asked if lists are slow, as when a connection is away."""
    started = time.monotonic()
    missing = wanted - {model.id for model in models(client)}
    if missing or time.monotonic() - started > _SLOW_SECONDS:
        return missing
    lists = from_all_workers(lambda: frozenset(model.id for model in models(client)))
    return wanted - frozenset.intersection(*lists)
