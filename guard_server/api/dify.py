"""`POST /v1/dify/moderation`: Dify's API extension for content moderation. See docs/dify/README.md.

Dify treats every reply to a check of an answer as "nothing found", unless it is a 200 (output_moderation.py of
langgenius/dify), so a turn without verdict is answered as flagged, with the notice that it could not be checked.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from guard_server.api.described_route import DescribedRoute
from guard_server.api.error_reply import ApiError, Invalid, TooLarge
from guard_server.api.http_exchange import body_of, json_response, parsed
from moderation.conversation import Turn
from moderation.guard import Guard
from moderation.notices.notice import NoticeKind, Notices
from moderation.policy import Action, Policy

PATH = "/v1/dify/moderation"
_POINTS = ("ping", "app.moderation.input", "app.moderation.output")

_log = logging.getLogger(__name__)
_Place = TypeVar("_Place", bound=Hashable)


class Reaction(StrEnum):
    """What Dify has to do with a flagged text. Dify calls it `action`."""

    DIRECT_OUTPUT = "direct_output"
    """The notice is the answer; the chat model is not asked, or its answer is replaced."""
    OVERRIDDEN = "overridden"
    """The notice replaces the text, and the app goes on with it."""


class DifyParams(BaseModel):
    """Of an input: its variables and the query. Of an output: its text."""

    inputs: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = {}
    """The value of a variable may also be a number, a list or a file."""
    query: Any = None
    text: str | None = None


class DifyRequest(BaseModel):
    """Dify's request, at one of three points."""

    point: str | None = Field(default=None, json_schema_extra={"enum": list(_POINTS)})
    params: DifyParams | None = None
    """Not needed with a ping."""


class DifyPong(BaseModel):
    """The reply to a ping."""

    result: Literal["pong"] = "pong"


class DifyReply(BaseModel):
    """Whether the text may pass, and what replaces it."""

    flagged: bool
    action: Reaction
    preset_response: str = ""
    """With `direct_output`: the notice."""
    inputs: dict[str, Any] = {}
    """With `overridden`, of an input: all variables, those that were flagged replaced."""
    query: Any = None
    """With `overridden`, of an input."""
    text: str = ""
    """With `overridden`, of an output."""


MODERATE_FOR_DIFY = DescribedRoute(
    "POST",
    PATH,
    "Dify's API extension for content moderation.",
    (DifyReply, DifyPong),
    DifyRequest,
    (Invalid,),
    query=(("action", tuple(Reaction)),),
)


def routes(guard: Callable[[], Guard], policy: Policy | None = None, notices: Notices | None = None) -> list[BaseRoute]:
    """The endpoint's routes; `guard` is asked at each request. The default policy lets only Safe pass."""
    extension = _Extension(guard, policy or Policy(), notices or Notices())
    return [MODERATE_FOR_DIFY.at(extension.answer)]


class _Extension:
    def __init__(self, guard: Callable[[], Guard], policy: Policy, notices: Notices) -> None:
        self._guard = guard
        self._policy = policy
        self._notices = notices

    async def answer(self, request: Request) -> Response:
        try:
            reply = await self._answer(parsed(await body_of(request), DifyRequest, surrogates=True), _reaction(request))
        except TooLarge:
            # Not a 413: Dify would let the text pass.
            reply = self._verdict({"": NoticeKind.NOT_CHECKED}, "")
        except (ApiError, ClientDisconnect):
            raise
        except Exception:
            # Even a bug of ours must not become a 500: Dify would let the text pass.
            _log.exception("no verdict")
            reply = self._verdict({"": NoticeKind.NOT_CHECKED}, "")
        return json_response(reply.model_dump(exclude_unset=isinstance(reply, DifyReply)))

    async def _answer(self, asked: DifyRequest, reaction: Reaction) -> DifyReply | DifyPong:
        if asked.point == "ping":
            return DifyPong()
        if asked.params is None:
            raise Invalid("params must be an object", "params")
        if asked.point == "app.moderation.input":
            return await self._check_input(asked.params.inputs, asked.params.query, reaction)
        if asked.point == "app.moderation.output":
            return await self._check_output(asked.params.text, reaction)
        raise Invalid(f"point must be one of {', '.join(_POINTS)}", "point")

    async def _check_input(self, inputs: Mapping[str, Any], query: Any, reaction: Reaction) -> DifyReply:
        texts = {("inputs", name): _as_text(value) for name, value in inputs.items()}
        if query is not None:
            texts["query", ""] = _as_text(query)
        flagged = await self._flag_prompts(texts)
        if not flagged or reaction is Reaction.DIRECT_OUTPUT:
            return self._verdict(flagged, "\n".join(texts.values()))
        # The other texts continue without the flagged ones, so they are judged without them, too.
        flagged |= await self._flag_prompts({place: text for place, text in texts.items() if place not in flagged})
        notice = {place: self._notices.text(kind, texts[place]) for place, kind in flagged.items()}
        return DifyReply(
            flagged=True,
            action=reaction,
            inputs={name: notice.get(("inputs", name), value) for name, value in inputs.items()},
            query=notice.get(("query", ""), query),
        )

    async def _flag_prompts(self, texts: Mapping[_Place, str]) -> dict[_Place, NoticeKind]:
        """Which of the texts may not pass: all of them if each may pass, but not together.

        The app puts them into one prompt, so that together they can be harmful even if none of them is.
        """
        together = Turn("user", "\n".join(texts.values()))
        each, whole = await asyncio.gather(
            self._flag({place: Turn("user", text) for place, text in texts.items()}), self._flag({None: together})
        )
        return each or (dict.fromkeys(texts, whole[None]) if whole else {})

    async def _check_output(self, text: str | None, reaction: Reaction) -> DifyReply:
        if text is None:
            raise Invalid("params.text must be a string", "params.text")
        flagged = await self._flag({"text": Turn("assistant", text)})
        if not flagged or reaction is Reaction.DIRECT_OUTPUT:
            return self._verdict(flagged, text)
        return DifyReply(flagged=True, action=reaction, text=self._notices.text(flagged["text"], text))

    def _verdict(self, flagged: Mapping[Any, NoticeKind], text: str) -> DifyReply:
        kinds = set(flagged.values())
        kind = next(iter(kinds - {NoticeKind.NOT_CHECKED} or kinds), None)
        preset = "" if kind is None else self._notices.text(kind, text)
        return DifyReply(flagged=bool(flagged), action=Reaction.DIRECT_OUTPUT, preset_response=preset)

    async def _flag(self, turns: Mapping[_Place, Turn]) -> dict[_Place, NoticeKind]:
        """Which of the turns may not pass, and the notice that replaces each."""
        guard = self._guard()
        verdicts = await asyncio.gather(*(guard.judge([turn]) for turn in turns.values()))
        flagged: dict[_Place, NoticeKind] = {}
        for (place, turn), verdict in zip(turns.items(), verdicts, strict=True):
            action = self._policy.decide(verdict).action
            if action is Action.WITHHOLD:
                _log.warning("no verdict: %s", verdict.problem)
                flagged[place] = NoticeKind.NOT_CHECKED
            elif action is Action.REFUSE:
                flagged[place] = NoticeKind.PROMPT_REFUSED if turn.role == "user" else NoticeKind.ANSWER_WITHHELD
        return flagged


def _reaction(request: Request) -> Reaction:
    """From the query of the address that Dify calls, since its requests have no field for settings."""
    try:
        return Reaction(request.query_params.get("action", Reaction.DIRECT_OUTPUT))
    except ValueError:
        raise Invalid(f"action in the address must be one of {', '.join(Reaction)}", "action") from None


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
