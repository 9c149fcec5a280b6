"""The wire to one Qwen3Guard-Gen endpoint: any server that speaks OpenAI's chat completions.

A server started by `guard_server` has a lean route for verdicts, and a chat template that takes `verdict_prefill`, so
that one generated token holds the verdict and the three severities' probabilities. Other servers are read in full. What
a server can do is found out from its first replies, best way first: what one cannot do is asked for in the next way,
within the same request.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import openai

from moderation.completion_wire import CompletionWire
from moderation.conversation import Conversation, kind_of
from moderation.errors import EndpointError, EndpointRefused, StreamLost
from moderation.one_token import REPLY_TOKENS, TOP_LOGPROBS, OneTokenVerdicts
from moderation.prefill import label_probabilities, label_severity, label_token
from moderation.problems import is_too_long, named, shown_address, without_key
from moderation.replies import OddReply
from moderation.server_facts import ServerFacts, ServerRecord, Style
from moderation.server_tokens import ServerTokens
from moderation.stream_wire import StreamWire
from moderation.transport import new_client
from moderation.verdict import Verdict, parse_reply
from moderation.verdict_wire import VerdictWire, is_passing

# Of the key, of load, or of something on the way: the next style would meet the same.
_NOT_OF_THE_STYLE = (401, 403, 408, 429, 502, 503, 504)


class Endpoint:
    """One server and what has been learnt of it.

    Args:
        base_url: as the `openai` SDK takes it, e.g. "http://localhost:8000/v1".
        api_key: sent as a bearer.
        model: a name from the server's /v1/models, or "auto": the one whose name has "guard", else the first.
        timeout: seconds for one attempt; the SDK makes up to three.
        refusals: whether to ask of each answer if it refuses its prompt, where that is not told anyway: one more short
            request behind a one-token verdict.
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
        self._refusals = refusals
        self._client = new_client(self.base_url, api_key, timeout)
        self._completions = CompletionWire(self._client, self.base_url)
        self._streams = StreamWire(self._client)
        self._verdicts = VerdictWire(self._client)
        self._record = ServerRecord()
        self._tokens = ServerTokens(self._completions, self._record)
        self._first_style = Style.ONE_TOKEN
        self._lean_is_wanted = True

    @property
    def model(self) -> str | None:
        """The name of the guard that answered last; None until one did, and once the server has it no more."""
        return self._record.model

    @property
    def learnt(self) -> bool:
        """Whether the server is known, and was asked not long ago."""
        return self._record.fresh is not None

    @property
    def streams(self) -> bool:
        """Whether it is known to be a Qwen3Guard-Stream behind `guard_server`."""
        return self._record.facts is not None and self._record.facts.streams

    @property
    def context_tokens(self) -> int | None:
        return self._record.facts.context_tokens if self._record.facts else None

    @property
    def owner(self) -> str | None:
        """What the server says under `owned_by`."""
        return self._record.facts.owner if self._record.facts else None

    @property
    def style(self) -> Style:
        """How chat completions are asked for verdicts. May be set, for who compares the styles: then by these alone."""
        return self._record.facts.style if self._record.facts else self._first_style

    @style.setter
    def style(self, style: Style) -> None:
        self._first_style = style
        self._lean_is_wanted = False
        if self._record.facts is not None:
            self._record.note(self._record.facts, style=style, style_is_proven=False, lean=False)

    async def ask(self, conversation: Conversation, facts: ServerFacts | None = None) -> Verdict:
        """The verdict of the last turn.

        Args:
            conversation: see `moderation.conversation`.
            facts: what `learn` gave to whoever asks several times.

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
        """Which model the server has, and its context length: asked once, and again after a while or a failure.

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

    async def stream(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send the next part of a stream; gives the reply: see docs/guard-stream.md.

        Raises:
            StreamLost: it must be opened again, with all text.
            EndpointDown, EndpointRefused, TooLong: see `moderation.errors`.
        """
        with self._understood(self._record.facts):
            return await self._streams.send(body)

    async def drop_stream(self, key: str) -> None:
        """Forget an open stream. One that cannot be dropped now ends by its silence."""
        with suppress(openai.OpenAIError, EndpointError):
            await self._streams.drop(key)

    async def count(self, conversation: Conversation, facts: ServerFacts | None = None) -> int | None:
        """Tokens of the prompt that `conversation` makes, template included; None where the server cannot tell.

        Raises:
            EndpointDown, EndpointRefused: it is not known yet, and cannot be asked.
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
        """Whatever a server answers, only an `EndpointError` leaves this block; errors of ours leave as they are."""
        try:
            yield
        except openai.OpenAIError as error:
            missing = isinstance(error, openai.NotFoundError)
            if missing or not isinstance(error, openai.APIStatusError) or error.status_code >= 500:
                # Whoever answers next may be another server, or have another model.
                self._record.forget(facts, model_too=missing)
            raise named(error, self.base_url, self._key) from error
        except OddReply as odd:
            told = f": {without_key(str(odd), self._key)[:200]}" if str(odd) else ""
            address = shown_address(self.base_url)
            raise EndpointRefused(f"{address} does not answer like an OpenAI-compatible server{told}") from odd
        except StreamLost as lost:
            raise StreamLost(without_key(str(lost), self._key)) from lost

    async def _look(self) -> ServerFacts:
        """The server's own words about its models."""
        try:
            models = await self._completions.models()
        except (openai.APIStatusError, OddReply) as error:
            lists_none = isinstance(error, openai.APIStatusError) and error.status_code in (404, 405, 501)
            if self._wanted_model == "auto" and not lists_none:
                raise
            # A name that the admin gives needs no list.
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
        """None where chat completions are to be asked instead. Raises TooLong."""
        try:
            verdict = await self._verdicts.judge(facts.model, conversation, refusals=self._refusals)
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
        """`style` gave a verdict, and those before it none."""
        if not facts.style_is_proven:
            # Another turn may have found out more meanwhile.
            self._record.note(facts, style=max(style, self._record.newest(facts).style), style_is_proven=True)
        elif style is not facts.style:
            # What it could do before it cannot now.
            self._record.forget(facts)

    async def _ask_in_style(self, facts: ServerFacts, style: Style, conversation: Conversation) -> Verdict | None:
        """None where the server does not honour a prefill."""
        if style is Style.ONE_TOKEN:
            return await self._ask_for_one_token(facts, conversation)
        wanted: dict[str, Any] = (
            {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if style is Style.FULL_WITH_LOGPROBS else {}
        )
        reply = await self._completions.complete(facts.model, conversation, REPLY_TOKENS, **wanted)
        verdict = parse_reply(reply.text, kind_of(conversation))
        if not verdict.reached:
            # Only the beginning of it is shown, in which a key may be cut.
            return Verdict.none(str(parse_reply(without_key(reply.text, self._key), kind_of(conversation)).problem))
        label = label_token(reply.tokens)
        if label is not None and label_severity(label.token) is verdict.severity:
            verdict = verdict.model_copy(update={"probabilities": label_probabilities(label)})
        return verdict

    async def _ask_for_one_token(self, facts: ServerFacts, conversation: Conversation) -> Verdict | None:
        verdicts, ids = OneTokenVerdicts(self._completions), await self._tokens.label_ids(facts)
        verdict = await verdicts.label(facts.model, conversation, ids)
        if verdict is None:
            return None
        if verdict.probabilities is None and ids and not facts.style_is_proven:
            # A vLLM before 0.32 has `/tokenize` and does not know `logprob_token_ids`.
            with suppress(openai.APIStatusError, OddReply):
                other = await verdicts.label(facts.model, conversation, ())
                if other is not None and other.probabilities is not None:
                    self._record.note(facts, label_ids=())
                    verdict = other
        return await verdicts.explained(facts.model, conversation, verdict, refusals=self._refusals)


def _is_final(error: openai.APIStatusError, facts: ServerFacts) -> bool:
    """Whether asking in another style cannot help."""
    status = error.status_code
    if status < 400 or status in _NOT_OF_THE_STYLE:
        return True
    return facts.style_is_proven and (status in (404, 500) or is_too_long(error))
