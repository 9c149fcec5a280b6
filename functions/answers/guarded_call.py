"""A call of the guarded models' function, as the guarded request that it is."""

from collections.abc import Callable

from starlette.requests import Request

from functions.answers.asked_model import asked_model
from functions.host.chat_completion import OwnUpstream
from functions.host.function_record import is_on_for_all
from functions.host.host_modules import HostChanged, from_host
from functions.host.own_version import own_version
from functions.host.system_prompt import SystemPrompt, system_prompt_of, with_system
from functions.models_valves import FunctionModelsValves
from moderation.audit.audit_record import AuditRecord
from moderation.verdict import Verdict
from webui.bodies import Body, messages_of, object_or_empty
from webui.guarded.guarded_request import GuardedRequest, Terms
from webui.guarded.host_version import can_retract
from webui.guarded.upstream import UpstreamFailed
from webui.log import log
from webui.messages import SYSTEM_ROLES
from webui.moderator import Moderator
from webui.request_context import RequestContext
from webui.settings import chosen
from webui.system_texts import judged_part, values_given


class GuardedCall:
    """What Open WebUI hands to the function.

    Args:
        moderator: judges, words and records.
        valves: the settings that hold now.
        request: Open WebUI's.
        user: who asks.
        body: the request, for an entry of ours.
        metadata: of the request.
    """

    def __init__(
        self,
        moderator: Moderator,
        valves: FunctionModelsValves,
        request: Request,
        user: Body,
        body: Body,
        metadata: Body,
    ) -> None:
        self._moderator = moderator
        self._valves = valves
        self._request = request
        self._user = user
        self._body = body
        self._metadata = metadata
        self._context = RequestContext.of_body({**body, "metadata": metadata}, user)._replace(host_is_next=False)

    async def guarded_request(self) -> GuardedRequest:
        """The request to the model that is asked.

        Raises:
            UpstreamFailed: it may not be answered; if that is for want of a verdict, it is in the audit.
        """
        try:
            if missing := await self._missing_filter():
                self._record(f"the filter {missing} is not active and global")
                said = f"No model answers while the filter {missing} is off: an admin must switch it on for all models."
                raise UpstreamFailed(said, 503)
            return await self._guarded_request()
        except HostChanged as changed:
            log.exception("guarded models cannot work in this Open WebUI")
            self._record(str(changed))
            raise UpstreamFailed(f"Qwen3Guard cannot work here: {changed}. Please tell an admin.", 500) from None
        except UpstreamFailed:
            raise
        except Exception as error:
            # Open WebUI would show its text.
            self._moderator.failed(self._head, "a guarded request could not be made", error)
            raise UpstreamFailed("Qwen3Guard failed, so no model was asked. Please tell an admin.", 500) from None

    async def _guarded_request(self) -> GuardedRequest:
        user = from_host("models.users", "UserModel")(**self._user)
        asked = await asked_model(self._request, user, self._body, self._metadata, self._valves.models)
        messages = messages_of(self._body)
        # A model that was picked has not put its system prompt there yet.
        owner = asked.id if asked.picked else str(object_or_empty(self._metadata.get("model")).get("id") or "")
        wanted = asked.picked or any(message.get("role") in SYSTEM_ROLES for message in messages)
        prompt = await system_prompt_of(owner, self._metadata, user) if wanted else SystemPrompt("", False)
        if asked.picked:
            messages = with_system(prompt.text, messages)
        context = self._context._replace(model=asked.id, split_system=self._splitting(prompt))
        timeout = self._valves.upstream_timeout_seconds
        upstream = OwnUpstream(self._request, user, self._metadata, timeout, system=not asked.picked)
        body = {**self._body, "model": asked.id, "messages": messages}
        return GuardedRequest(self._moderator, upstream, body, context, self._terms())

    def _terms(self) -> Terms:
        on_page = bool(self._metadata.get("chat_id") and self._metadata.get("session_id")) and not self._context.task
        retracts = can_retract(own_version())
        return Terms(
            parallel=self._valves.prompt_check == "parallel",
            # What nobody can take back is not shown before it was judged.
            hold=self._valves.stream_mode == "hold" or not (retracts and on_page),
            retracts=retracts,
        )

    def _splitting(self, prompt: SystemPrompt) -> Callable[[str], tuple[str, str]]:
        given = values_given(self._metadata, self._user)

        def split(text: str) -> tuple[str, str]:
            if not prompt.by_admin or not text.startswith(prompt.text):
                return text, text
            return text, judged_part(prompt.text, text[len(prompt.text) :].removeprefix("\n"), given)

        return split

    async def _missing_filter(self) -> str | None:
        """The filter that must be on, if it is not."""
        wanted = chosen(self._valves.require_filter)
        return None if wanted is None or await is_on_for_all(wanted) else wanted

    @property
    def _head(self) -> AuditRecord:
        return self._context.head(self._context.direction("prompt"))

    def _record(self, problem: str) -> None:
        self._moderator.audit.record(self._head, verdict=Verdict.none(problem))
