"""`make try`: three conversations of an ordinary user through the whole stack, and whether each went as it should."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from demo.chat_model import MODEL, SCRIPT
from demo.children import ROOT
from demo.errors import StackError
from demo.ports import Ports
from demo.screen import Screen
from demo.script import Script
from demo.stack import SAFE_PROMPT, UNSAFE_ANSWER_PROMPT, UNSAFE_PROMPT, Stack
from demo.visitor import Seen, Visitor
from moderation.notice import NoticeKind, Notices

FOLDER = ROOT / ".run/try"


@dataclass(frozen=True)
class Conversation:
    """One prompt, and what must become of it."""

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
    """How a conversation went: what the page shows, what the chat model got, and every wrong thing in it."""

    conversation: Conversation
    seen: Seen
    received: list[dict[str, Any]]
    faults: list[str]


def main() -> int:
    """Returns the exit status: 0 when every conversation is as it should be."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    try:
        with Stack(
            FOLDER, ports=Ports.free(), fresh=True, guard=os.environ.get("MODEL") or "demo", say=screen.say
        ) as stack:
            played = [play(stack, conversation, screen) for conversation in CONVERSATIONS]
    except KeyboardInterrupt:
        return 130
    except StackError as error:
        screen.fail(error)
        return 1
    screen.console.print(table(played))
    faults = [f"{one.conversation.what}: {fault}" for one in played for fault in one.faults]
    for fault in faults:
        screen.fail(StackError(fault))
    screen.say("everything is stopped; " + ("each conversation is as it should be" if not faults else "see above"))
    return 1 if faults else 0


def play(stack: Stack, conversation: Conversation, screen: Screen) -> Played:
    """Asks as the user, streamed as the page does it, and looks at both ends."""
    screen.say(f"the user asks: {conversation.prompt}")
    stack.clear_chat_log()
    seen = Visitor(stack.user, MODEL).ask(conversation.prompt)
    received = stack.chat_log()
    return Played(conversation, seen, received, faults(conversation, seen, received))


def faults(conversation: Conversation, seen: Seen, received: list[dict[str, Any]]) -> list[str]:
    """What is not as it should be. The expected texts are the script's and the filter's own."""
    planned = Script.load(SCRIPT).reply({"messages": [{"role": "user", "content": conversation.prompt}]}).content
    wrong = []
    if seen.error:
        wrong.append(f"the page shows an error: {seen.error}")
    got = any(_holds(body, conversation.prompt) for body in received)
    if got != conversation.sent_on:
        wrong.append("the chat model got the unsafe prompt" if got else "the chat model did not get the prompt")
    expected = Notices().text(conversation.notice, conversation.prompt) if conversation.notice else planned
    if seen.text.strip() != expected:
        wrong.append(f"the page shows {seen.text!r} in place of {expected!r}")
    if conversation.notice and _holds([seen.answer.get("content"), seen.answer.get("output")], planned):
        wrong.append("the page holds the answer that it must not show")
    if not conversation.sent_on and conversation.prompt in f"{seen.title}\n{seen.prompt}":
        wrong.append("the sidebar or the chat's record holds the refused prompt")
    return wrong


def _holds(body: object, text: str) -> bool:
    return json.dumps(text, ensure_ascii=False)[1:-1] in json.dumps(body, ensure_ascii=False)


def table(played: list[Played]) -> Table:
    """One row per conversation, for people."""
    rows = Table(show_lines=True)
    for heading in ("conversation", "the user asks", "the user sees", "in the sidebar", "the chat model got", ""):
        rows.add_column(heading)
    for one in played:
        rows.add_row(
            one.conversation.what,
            one.conversation.prompt,
            one.seen.text or one.seen.error,
            one.seen.title,
            _summary(one.received),
            "[red]wrong[/red]" if one.faults else "[green]right[/green]",
        )
    return rows


def _summary(received: list[dict[str, Any]]) -> str:
    chats = [body for body in received if not _is_task(body)]
    said = "\n".join(str(body["messages"][-1]["content"]) for body in chats) or "nothing of it"
    tasks = len(received) - len(chats)
    return f"{said}\n(+ {tasks} task prompts)" if tasks else said


def _is_task(body: dict[str, Any]) -> bool:
    return str(body["messages"][-1]["content"]).startswith("### Task:")


if __name__ == "__main__":
    sys.exit(main())
