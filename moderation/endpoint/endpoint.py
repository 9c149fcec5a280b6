"""The wire to one Qwen3Guard-Gen endpoint: any server that speaks OpenAI's chat completions.

A server started by `guard_server` has a lean route for verdicts, and a chat template that takes `verdict_prefill`, so
that one generated token holds the verdict and the three severities' probabilities. Other servers are read in full. What
a server can do is found out from its first replies, best way first: if one way fails, the next is
tried within the same request.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import openai

from moderation.conversation import Conversation, kind_of
from moderation.endpoint.completion_schema import CompletionCost, CompletionWire
from moderation.endpoint.one_token import REPLY_TOKENS, TOP_LOGPROBS, OneTokenVerdicts
from moderation.endpoint.prefill import label_probabilities, label_severity, label_token
from moderation.endpoint.problems import is_too_long, named, shown_address, without_key
from moderation.endpoint.quick_post import QuickPost
from moderation.endpoint.replies import OddReply
from moderation.endpoint.server_facts import ServerFacts, ServerRecord, Style
from moderation.endpoint.server_tokens import ServerTokens
from moderation.endpoint.transport import AiohttpTransport, new_client
from moderation.endpoint.verdict_schema import VerdictWire, is_passing
from moderation.errors import EndpointError, EndpointRefused, StreamLost
from moderation.stream.stream_schema import StreamReply, StreamRequest
from moderation.stream.stream_wire import StreamWire
from moderation.verdict import Verdict, parse_reply

# The cause is the key, load, or something in between: another style would get the same reply.
_NOT_OF_THE_STYLE = (401, 403, 408, 429, 502, 503, 504)


class Endpoint:
    """One server, and the facts that have been learnt about it.

    Args:
        base_url: as for the `openai` SDK, e.g. "http://localhost:8000/v1".
        api_key: sent as a bearer token.
        model: a name from the server's /v1/models, or "auto": the one whose name has "guard", else the first.
        timeout: seconds for one attempt; the SDK makes up to three.
        refusals: whether to ask for each answer if it refuses its prompt, unless it is reported anyway: one more short
            request after a one-token verdict.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str = "EMPTY",
        model: str = "auto",
        timeout: float = 10,
        *,
        refusals: bool = False,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._key = api_key
        self._wanted_model = model
        self.refusals = refusals
        """May be changed between requests."""
        transport = AiohttpTransport(self.base_url)
        self._client = new_client(self.base_url, api_key, timeout, transport=transport)
        self._completions = CompletionWire(self._client, self.base_url, QuickPost(self._client, transport, timeout))
        self._streams = StreamWire(self._client)
        # No retries: chat completions are the second attempt.
        once = self._client.with_options(max_retries=0)
        self._verdicts = VerdictWire(self._client, QuickPost(once, transport, timeout))
        self._record = ServerRecord()
        self._tokens = ServerTokens(self._completions, self._record)
        self._first_style = Style.ONE_TOKEN
        self._lean_is_wanted = True

    @property
    def model(self) -> str | None:
        """The guard that answered last; None before the first answer, and after the server has removed that model."""
        return self._record.model

    @property
    def learnt(self) -> bool:
        """Whether there are facts about the server, and they are not too old."""
        return self._record.fresh is not None

    @property
    def facts(self) -> ServerFacts | None:
        """The newest facts about the server, without asking it; None if there are none."""
        return self._record.facts

    @property
    def streams(self) -> bool:
        """Whether the facts say that it is a Qwen3Guard-Stream served by `guard_server`."""
        return self._record.facts is not None and self._record.facts.streams

    @property
    def cost(self) -> CompletionCost:
        """Of all chat completions so far; the lean route and streams report no tokens."""
        return self._completions.cost

    @property
    def context_tokens(self) -> int | None:
        return self._record.facts.context_tokens if self._record.facts else None

    @property
    def owner(self) -> str | None:
        """The server's value of `owned_by`."""
        return self._record.facts.owner if self._record.facts else None

    @property
    def style(self) -> Style:
        """How chat completions are asked for verdicts. May be set, to compare styles: then only this one is used."""
        return self._record.facts.style if self._record.facts else self._first_style

    @style.setter
    def style(self, style: Style) -> None:
        self._first_style = style
        self._lean_is_wanted = False
        if self._record.facts is not None:
            self._record.note(self._record.facts, style=style, style_is_proven=False, lean=False)

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        """The verdict on the last turn.

        Args:
            conversation: see `moderation.conversation`.
            facts: the result of `learn`, if the caller asks several times.

        Raises:
            EndpointDown, EndpointRefused, TooLong: see `moderation.errors`.
        """
        facts = self._record.newest(facts or await self.learn())
        with self._understood(facts):
            if facts.streams:
                verdict = await self._streams.judge(conversation)
            else:
                lean = await self._ask_lean(facts, conversation) if facts.lean else None
                verdict = lean or await self._ask_in_some_style(facts, conversation)
        if verdict.problem is None:
            return verdict
        return verdict.model_copy(update={"problem": without_key(verdict.problem, self._key)})

    async def learn(self) -> ServerFacts:
        """The server's model and context length: requested once, and again after a while or a failure.

        Raises:
            EndpointDown, EndpointRefused: see `moderation.errors`.
        """
        if self._record.fresh is not None:
            return self._record.fresh
        if not (self._key.isascii() and self._key.isprintable()):
            raise EndpointRefused("the guard's key has characters that no HTTP header can carry: check the settings")
        before = self._record.facts
        with self._understood(before):
            found = await self._look()
        return self._record.replace_by(found, before)

    async def stream(self, request: StreamRequest) -> StreamReply | None:
        """Send the next part of a stream. The reply; None if it cannot be read.

        Raises:
            StreamLost: it must be opened again, with all text.
            EndpointDown, EndpointRefused, TooLong: see `moderation.errors`.
        """
        with self._understood(self._record.facts):
            return await self._streams.send(request)

    async def drop_stream(self, key: str) -> None:
        """Close an open stream. If that fails, the server closes it when it has been idle for too long."""
        with suppress(openai.OpenAIError, EndpointError):
            await self._streams.drop(key)

    async def count(self, conversation: Conversation, facts: ServerFacts | None = None) -> int | None:
        """Number of tokens of `conversation` as a prompt, template included; None if the server cannot count.

        Raises:
            EndpointDown, EndpointRefused: there are no facts about it yet, and it cannot be asked.
        """
        return await self._tokens.count(facts or await self.learn(), conversation)

    async def aclose(self) -> None:
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @contextmanager
    def _understood(self, facts: ServerFacts | None) -> Iterator[None]:
        """Convert all errors that a server can cause into an `EndpointError`; errors of ours are not changed."""
        try:
            yield
        except openai.OpenAIError as error:
            missing = isinstance(error, openai.NotFoundError)
            if missing or not isinstance(error, openai.APIStatusError) or error.status_code >= 500:
                # The next reply may come from another server, or another model.
                self._record.forget(facts, model_too=missing)
            raise named(error, self.base_url, self._key) from error
        except OddReply as odd:
            said = f": {without_key(str(odd), self._key)[:200]}" if str(odd) else ""
            address = shown_address(self.base_url)
            raise EndpointRefused(f"{address} does not answer like an OpenAI-compatible server{said}") from odd
        except StreamLost as lost:
            raise StreamLost(without_key(str(lost), self._key)) from lost

    async def _look(self) -> ServerFacts:
        """The server's list of models."""
        try:
            models = await self._completions.models()
        except (openai.APIStatusError, OddReply) as error:
            lists_none = isinstance(error, openai.APIStatusError) and error.status_code in (404, 405, 501)
            if self._wanted_model == "auto" and not lists_none:
                raise
            # A model name set by the admin needs no list.
            models = []
        if self._wanted_model != "auto":
            models = [model for model in models if model.id == self._wanted_model]
        elif not models:
            address = shown_address(self.base_url)
            raise EndpointRefused(f"{address}/models lists no model: name the guard's model in the settings")
        models.sort(key=lambda model: "guard" not in model.id.lower())
        model = models[0] if models else None
        ours = model is not None and model.owned_by == "vllm"
        streams = ours and await self._streams.offered()
        name = model.id if model else self._wanted_model
        return ServerFacts(
            number=0,
            learnt_at=time.monotonic(),
            model=name,
            context_tokens=model.context_tokens if model else None,
            owner=model.owned_by if model else None,
            streams=streams,
            lean=ours and not streams and self._lean_is_wanted and await self._verdicts.offered(name),
            style=self._first_style,
        )

    async def _ask_lean(self, facts: ServerFacts, conversation: Conversation) -> Verdict | None:
        """None if chat completions have to be used instead. Raises TooLong."""
        try:
            verdict = await self._verdicts.judge(facts.model, conversation, refusals=self.refusals)
        except (openai.OpenAIError, OddReply, EndpointRefused) as error:
            if not (isinstance(error, openai.OpenAIError) and is_passing(error)):
                self._record.note(facts, lean=False)
            return None
        return verdict if verdict.reached else None

    async def _ask_in_some_style(self, facts: ServerFacts, conversation: Conversation) -> Verdict:
        verdict = None
        for style in [style for style in Style if style >= facts.style]:
            try:
                verdict = await self._ask_in_style(facts, style, conversation)
            except (openai.APIStatusError, OddReply, EndpointRefused) as error:
                if style is Style.FULL or (isinstance(error, openai.APIStatusError) and _is_final(error, facts)):
                    raise
                continue
            if verdict is not None and verdict.reached:
                self._settle_style(facts, style)
                return verdict
        return verdict or Verdict.none("the guard said nothing")

    def _settle_style(self, facts: ServerFacts, style: Style) -> None:
        """Record that `style` gave a verdict, and the styles before it did not."""
        if not facts.style_is_proven:
            # A concurrent request may have found out more.
            self._record.note(facts, style=max(style, self._record.newest(facts).style), style_is_proven=True)
        elif style is not facts.style:
            # It worked before and does not work now.
            self._record.forget(facts)

    async def _ask_in_style(self, facts: ServerFacts, style: Style, conversation: Conversation) -> Verdict | None:
        """None if the server does not honour a prefill."""
        if style is Style.ONE_TOKEN:
            return await self._ask_for_one_token(facts, conversation)
        wanted: dict[str, Any] = (
            {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if style is Style.FULL_WITH_LOGPROBS else {}
        )
        reply = await self._completions.complete(facts.model, conversation, REPLY_TOKENS, **wanted)
        verdict = parse_reply(reply.text, kind_of(conversation))
        if not verdict.reached:
            # Only its beginning is shown, where a key could be cut, so the key is removed first.
            return Verdict.none(str(parse_reply(without_key(reply.text, self._key), kind_of(conversation)).problem))
        label = label_token(reply.tokens)
        if label is not None and label_severity(label.token) is verdict.severity:
            verdict = verdict.model_copy(update={"probabilities": label_probabilities(label)})
        return verdict.model_copy(update={"prompt_tokens": reply.prompt_tokens})

    async def _ask_for_one_token(self, facts: ServerFacts, conversation: Conversation) -> Verdict | None:
        verdicts, ids = OneTokenVerdicts(self._completions), await self._tokens.label_ids(facts)
        verdict = await verdicts.label(facts.model, conversation, ids)
        if verdict is None:
            return None
        if verdict.probabilities is None and ids and not facts.style_is_proven:
            # A vLLM before 0.32 has `/tokenize`, but no `logprob_token_ids`.
            with suppress(openai.APIStatusError, OddReply):
                other = await verdicts.label(facts.model, conversation, ())
                if other is not None and other.probabilities is not None:
                    self._record.note(facts, label_ids=())
                    verdict = other
        return await verdicts.explained(facts.model, conversation, verdict, refusals=self.refusals)


def _is_final(error: openai.APIStatusError, facts: ServerFacts) -> bool:
    """Whether another style would fail, too."""
    status = error.status_code
    if status < 400 or status in _NOT_OF_THE_STYLE:
        return True
    return facts.style_is_proven and (status in (404, 500) or is_too_long(error))
