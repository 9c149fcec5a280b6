"""Tries the ways to each model as a user, all at the same time."""

import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from guard_server.doctor.examination import Level
from guard_server.doctor.protection.notice_reader import Meaning, NoticeReader
from guard_server.doctor.protection.outcome import Outcome, Said, outcome
from guard_server.doctor.protection.protection_report import PathFinding, PathState
from guard_server.doctor.protection.routes import ROUTES, Route
from guard_server.errors import WebuiError
from guard_server.open_webui.client import WebuiClient
from guard_server.probe_prompts import ProbePrompts

# What the plugins answer to Open WebUI's request for a title that they refuse.
NEUTRAL_TITLE = "New Chat"
_AT_A_TIME = 4


@dataclass(frozen=True)
class ProbedModel:
    """A model to try. `is_offered`: ordinary users are meant to use it."""

    id: str
    owner: str
    is_offered: bool

    @property
    def routes(self) -> list[Route]:
        # The other ways to a model that is not offered meet the same grant.
        wanted = [route for route in ROUTES if self.is_offered or route.around or route.name == "API"]
        return [route for route in wanted if route.owner in (None, self.owner)]


class PathCheck:
    """Asks as a user.

    Args:
        user: an ordinary one.
        admin: asked for the cause if a user gets no verdict, and for the plugin and the way to its guard if one does.
        reader: knows the notices.
        tried: called after each path.
    """

    def __init__(self, user: WebuiClient, admin: WebuiClient, reader: NoticeReader, tried: Callable[[], None]) -> None:
        self._user = user
        self._admin = admin
        self._reader = reader
        self._tried = tried
        self._prompts = ProbePrompts(secrets.token_hex(4))
        self.plugin_answers: set[str] = set()
        """What the plugins told the admin about themselves."""

    def find(self, models: Iterable[ProbedModel]) -> tuple[PathFinding, ...]:
        """What a user reaches, in the order of the models and their ways."""
        paths = [(model, route) for model in models for route in model.routes]
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            return tuple(pool.map(lambda path: self._find(*path), paths))

    def _find(self, model: ProbedModel, route: Route) -> PathFinding:
        try:
            found = self._outcome(model, route)
        except WebuiError as error:
            found = Outcome(PathState.CLOSED, Level.FAILURE, error.cause, error.remedy)
        self._tried()
        return PathFinding(model=model.id, path=route.name, **found._asdict())

    def _outcome(self, model: ProbedModel, route: Route) -> Outcome:
        prompts = self._prompts
        unsafe = self._said(model, route, prompts.unsafe)
        if route.asks_admin and unsafe.meaning is Meaning.PROMPT_REFUSED:
            reply = route.send(self._admin, model.id, prompts.unsafe)
            # A plugin that does not judge admins tells nothing.
            if self._reader.meaning(reply) is Meaning.PROMPT_REFUSED:
                self.plugin_answers.add(reply.told_admin)
        harmless = self._said(model, route, prompts.harmless_chat if route.is_task else prompts.harmless)
        cause = ""
        if harmless.meaning is Meaning.NO_VERDICT:
            cause = route.send(self._admin, model.id, prompts.harmless).told_admin
        return outcome(route, unsafe, harmless, offered=model.is_offered, cause=cause)

    def _said(self, model: ProbedModel, route: Route, prompt: str) -> Said:
        reply = route.send(self._user, model.id, prompt)
        if route.is_task and reply.text == NEUTRAL_TITLE:
            return Said(reply, Meaning.PROMPT_REFUSED)
        return Said(reply, self._reader.meaning(reply))
