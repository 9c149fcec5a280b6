"""`make try`: plays three conversations of an ordinary user through the whole stack, and checks each of them.

Each is played twice: with the guarded model, and with the same model connected directly and checked by the filter.
All of it is played with the plugins in a Pipelines server, and again in Open WebUI's own process;
HOST=pipelines|functions chooses one of them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.table import Table

from demo.chat_model.script import Script
from demo.chat_model.server import MODEL, SCRIPT
from demo.errors import StackError
from demo.screen import Screen
from demo.stack.ports import Ports
from demo.stack.stack import SAFE_PROMPT, UNSAFE_ANSWER_PROMPT, UNSAFE_PROMPT, Stack
from demo.state import ROOT
from demo.webui_client.host import Host
from demo.webui_client.protection import Protection
from demo.webui_client.visitor import Seen, Visitor
from moderation.notices.notice import NoticeKind, Notices

FOLDER = ROOT / ".run/try"


@dataclass(frozen=True)
class Conversation:
    """One prompt, and the expected result."""

    what: str
    prompt: str
    sent_on: bool
    notice: NoticeKind | None = None


CONVERSATIONS = [
    Conversation("a safe prompt, a safe answer", SAFE_PROMPT, sent_on=True),
    Conversation("an unsafe prompt", UNSAFE_PROMPT, sent_on=False, notice=NoticeKind.PROMPT_REFUSED),
    Conversation(
        "a safe prompt, an unsafe answer", UNSAFE_ANSWER_PROMPT, sent_on=True, notice=NoticeKind.ANSWER_WITHHELD
    ),
]


@dataclass(frozen=True)
class Played:
    """A played conversation: what the user saw, what the chat model got, and all faults."""

    host: Host
    protection: Protection
    conversation: Conversation
    seen: Seen
    title: str
    """The chat's title in the sidebar."""
    received: list[dict[str, Any]]
    """The request bodies that the chat model got while the user waited."""
    faults: list[str]


def main() -> int:
    """Returns the exit status: 0 if every conversation went as expected."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    played: list[Played] = []
    try:
        # The first one decides what is started, and Functions need no server of their own.
        first, *others = [Host.from_environment()] if os.environ.get("HOST") else [Host.PIPELINES, Host.FUNCTIONS]
        with Stack(
            FOLDER,
            ports=Ports.free(),
            fresh=True,
            guard=os.environ.get("MODEL") or "demo",
            host=first,
            protection=Protection.BOTH,
            say=screen.say,
        ) as stack:
            played += play_both(stack, screen)
            for host in others:
                screen.say(f"moving over to {host}")
                stack.move(host)
                played += play_both(stack, screen)
    except KeyboardInterrupt:
        return 130
    except StackError as error:
        screen.fail(error)
        return 1
    for host in dict.fromkeys(one.host for one in played):
        screen.console.print(table(host, [one for one in played if one.host is host]))
    faults = [
        f"{one.host}, {one.protection}: {one.conversation.what}: {fault}" for one in played for fault in one.faults
    ]
    for fault in faults:
        screen.fail(StackError(fault))
    screen.say("everything is stopped; " + ("each conversation went as expected" if not faults else "see above"))
    return 1 if faults else 0


def play_both(stack: Stack, screen: Screen) -> list[Played]:
    """With the guarded model, and with the filter."""
    return [*play(stack, Protection.GUARDED, screen), *play(stack, Protection.FILTER, screen)]


def play(stack: Stack, protection: Protection, screen: Screen) -> list[Played]:
    """Asks all prompts as the user, streamed as the page does it, and then compares what both ends got."""
    visitor = Visitor(stack.user, stack.model if protection.guarded else MODEL)
    stack.clear_chat_log()
    seen, ends = [], [0]
    for conversation in CONVERSATIONS:
        screen.say(f"the user asks {visitor.model}: {conversation.prompt}")
        seen.append(visitor.ask(conversation.prompt))
        ends.append(len(stack.chat_log()))
    # A title is written in the background, so titles and the log are read again at the end.
    titles, log = visitor.sidebar(), stack.chat_log()
    return [
        Played(
            stack.host,
            protection,
            conversation,
            one,
            titles[one.chat_id],
            log[start:end],
            find_faults(stack.host, protection, conversation, one, titles[one.chat_id], log),
        )
        for conversation, one, (start, end) in zip(CONVERSATIONS, seen, pairwise(ends), strict=True)
    ]


def find_faults(
    host: Host, protection: Protection, conversation: Conversation, seen: Seen, title: str, log: list[dict[str, Any]]
) -> list[str]:
    """All differences from the expected result. `log` is all that the chat model got.

    Expected texts come from the script and the notices. A guarded model may start an answer before the prompt is judged
    (a refused prompt's answer is discarded), and cannot change the stored prompt. A Function filter refuses a prompt
    to any model, with an error whose text is the notice, and is not asked about Open WebUI's own tasks.
    """
    functions = host is Host.FUNCTIONS
    if functions and not protection.guarded:
        log = [body for body in log if not _is_task(body)]
    planned = Script.load(SCRIPT).reply({"messages": [{"role": "user", "content": conversation.prompt}]}).content
    wrong = []
    refused = functions and conversation.notice is NoticeKind.PROMPT_REFUSED
    if seen.error and not refused:
        wrong.append(f"the page shows an error: {seen.error}")
    got = any(_holds(body, conversation.prompt) for body in log)
    if got != conversation.sent_on and not (got and protection.guarded):
        wrong.append("the chat model got the unsafe prompt" if got else "the chat model did not get the prompt")
    expected = Notices().text(conversation.notice, conversation.prompt) if conversation.notice else planned
    shown = seen.error if refused else seen.text.strip()
    if shown != expected:
        wrong.append(f"the page shows {shown!r} in place of {expected!r}")
    if conversation.notice and _holds([seen.answer.get("content"), seen.answer.get("output")], planned):
        wrong.append("the page holds the answer that it must not show")
    if not conversation.sent_on and conversation.prompt in title:
        wrong.append("the sidebar holds the refused prompt")
    if not conversation.sent_on and conversation.prompt in seen.prompt and not protection.guarded:
        wrong.append("the chat's record holds the refused prompt")
    return wrong


def _holds(body: object, text: str) -> bool:
    return json.dumps(text, ensure_ascii=False)[1:-1] in json.dumps(body, ensure_ascii=False)


def table(host: Host, played: list[Played]) -> Table:
    """One row per conversation with the plugins of this host, for the terminal."""
    place = "a Pipelines server" if host is Host.PIPELINES else "Open WebUI itself, as Functions"
    rows = Table(title=f"The plugins run in {place}", show_lines=True)
    for heading in (
        "protection",
        "conversation",
        "the user asks",
        "the user sees",
        "in the sidebar",
        "the chat model got",
        "",
    ):
        rows.add_column(heading)
    for one in played:
        rows.add_row(
            "guarded model" if one.protection.guarded else "filter",
            one.conversation.what,
            one.conversation.prompt,
            one.seen.text or one.seen.error,
            one.title,
            _summary(one.received) + _fate(one),
            "[red]wrong[/red]" if one.faults else "[green]right[/green]",
        )
    return rows


def _summary(received: list[dict[str, Any]]) -> str:
    chats = [body for body in received if not _is_task(body)]
    said = "\n".join(str(body["messages"][-1]["content"]) for body in chats) or "no chat request"
    tasks = len(received) - len(chats)
    return f"{said}\n(+ {tasks} of Open WebUI's tasks)" if tasks else said


def _fate(one: Played) -> str:
    chats = [body for body in one.received if not _is_task(body)]
    discarded = one.protection.guarded and chats and not one.conversation.sent_on
    return "\n(its answer was discarded)" if discarded else ""


def _is_task(body: dict[str, Any]) -> bool:
    return str(body["messages"][-1]["content"]).startswith("### Task:")


if __name__ == "__main__":
    sys.exit(main())
