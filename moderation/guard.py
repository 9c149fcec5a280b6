"""A conversation in, a verdict out."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from cachetools import LRUCache
from circuitbreaker import CircuitBreaker

from moderation.conversation import Conversation, Turn, digest
from moderation.errors import EndpointDown, EndpointError, TooLong
from moderation.neutral import neutralise
from moderation.one_token import REPLY_TOKENS
from moderation.problems import shown_address
from moderation.server import Server
from moderation.server_facts import ServerFacts
from moderation.server_tokens import TEMPLATE_TOKENS
from moderation.verdict import Severity, Verdict, worst
from moderation.windows import fit

# Assumed of servers that do not tell: Ollama's default. Too small costs windows; too large could cut a turn unseen.
DEFAULT_CONTEXT_TOKENS = 4096
# After this many silent judgements in a row callers are turned away at once, for so many seconds.
_BREAK_AFTER = 3
_BREAK_SECONDS = 2

# The plugins' own logger.
_guard_log = logging.getLogger("qwen3guard")


class Guard:
    """Judges the last turn of a conversation, with the earlier turns as context.

    Never raises for what a turn says or an endpoint does: what cannot be judged is a verdict without severity.
    To be used from one event loop.

    Args:
        endpoint: where Qwen3Guard is served.
        timeout: seconds for one judgement, retries and windows included.
        context_tokens: the guard's context; 0 to learn it from the endpoint.
        cache_size: verdicts remembered, by the hash of their conversation.
        concurrency: requests to the endpoint at a time.
    """

    def __init__(
        self,
        endpoint: Server,
        *,
        timeout: float = 10,
        context_tokens: int = 0,
        cache_size: int = 10_000,
        concurrency: int = 64,
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._context_tokens = context_tokens
        self._known: LRUCache[tuple[str | None, bytes], Verdict] = LRUCache(cache_size)
        self._in_flight: dict[bytes, asyncio.Task[Verdict]] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self._breaker = CircuitBreaker(_BREAK_AFTER, _BREAK_SECONDS, EndpointDown)
        self._last_reply = 0.0

    @property
    def endpoint(self) -> Server:
        return self._endpoint

    async def streams(self) -> bool:
        """Whether the endpoint judges answers token by token; False also where it cannot be asked."""
        try:
            return (await self._endpoint.learn()).streams
        except EndpointError:
            return False

    @property
    def model(self) -> str | None:
        """The guard model's name; None until the endpoint was reached."""
        return self._endpoint.model

    def known(self, conversation: Conversation) -> Verdict | None:
        """The verdict of a conversation that this model judged before."""
        return self._remembered(digest(_readable(conversation)))

    async def judge(self, conversation: Conversation) -> Verdict:
        """The verdict of the last turn. Equal conversations are judged once, also while that is under way."""
        try:
            readable = _readable(conversation)
            if not readable[-1].text:
                return Verdict(severity=Severity.SAFE)
            key = digest(readable)
            known = self._remembered(key)
        except Exception as error:
            return _failed(error)
        # Of a server that is to be learnt anew, nobody knows yet whether it has the same model.
        if known is not None and self._endpoint.learnt:
            return known
        task = self._in_flight.get(key)
        if task is None:
            task = self._in_flight[key] = asyncio.create_task(self._judge(key, readable))
            task.add_done_callback(lambda done: self._in_flight.pop(key))
        # Shielded, since others may wait for the same verdict; the task ends by its own deadline.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Finish what is in flight, which its deadline bounds, and close the connections."""
        await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
        await self._endpoint.aclose()

    def _remembered(self, key: bytes) -> Verdict | None:
        return self._known.get((self._endpoint.model, key))

    async def _judge(self, key: bytes, conversation: Conversation) -> Verdict:
        verdict = await self.attempt(partial(self._judge_once, key, conversation))
        # While nobody answers, what was judged before holds.
        return verdict if verdict.reached else self._remembered(key) or verdict

    async def attempt(self, work: Callable[[], Awaitable[Verdict]]) -> Verdict:
        """The verdict that `work` gets of the endpoint; one without severity where it gets none in time.

        Never raises: an error of ours is logged in whole, and is no word of the endpoint's.
        """
        address = shown_address(self._endpoint.base_url)
        if self._breaker.opened:
            return Verdict.none(f"{address} did not answer a moment ago")
        started = time.monotonic()
        try:
            with self._breaker:
                try:
                    async with asyncio.timeout(self._timeout):
                        return await work()
                except TimeoutError:
                    problem = f"no verdict within {self._timeout:g} s from {address}"
                    if self._last_reply < started:
                        raise EndpointDown(problem) from None
                    return Verdict.none(problem)
        except EndpointError as error:
            return Verdict.none(str(error))
        except Exception as error:
            return _failed(error)

    async def _judge_once(self, key: bytes, conversation: Conversation) -> Verdict:
        """By what is known of the server now, whatever others find out meanwhile."""
        facts = await self._endpoint.learn()
        known = self._known.get((facts.model, key))
        if known is None:
            known = await self._judge_in_windows(facts, conversation)
            if known.reached:
                self._known[facts.model, key] = known
        return known

    async def _judge_in_windows(self, facts: ServerFacts, conversation: Conversation) -> Verdict:
        limit = self._context_tokens or facts.context_tokens or DEFAULT_CONTEXT_TOKENS
        counted = True
        while True:
            room = limit - REPLY_TOKENS
            windows = await fit(conversation, room, partial(self._count, facts if counted else None, room))
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._ask(facts, window)) for window in windows]
            except ExceptionGroup as errors:
                error = errors.exceptions[0]
                if not isinstance(error, TooLong):
                    raise error from None
                if error.limit is not None and error.limit < limit:
                    # The endpoint's word, where it is news.
                    limit = error.limit
                elif counted:
                    # What it counts is not what it bounds: a server may refuse a text for its characters.
                    counted = False
                else:
                    limit //= 2
            else:
                return worst([task.result() for task in tasks])

    async def _ask(self, facts: ServerFacts, conversation: Conversation) -> Verdict:
        async with self._slots:
            verdict = await self._endpoint.ask(conversation, facts)
        self._last_reply = time.monotonic()
        return verdict

    async def _count(self, facts: ServerFacts | None, room: int, conversation: Conversation) -> int:
        """Tokens of a prompt: the endpoint of `facts` is asked only where a bound by bytes is more than `room`."""
        bound = TEMPLATE_TOKENS + sum(len(turn.text.encode("utf-8", "surrogatepass")) for turn in conversation)
        if bound <= room or facts is None:
            return bound
        exact = await self._endpoint.count(conversation, facts)
        if exact is None or exact > 4 * bound:
            # What cannot be is no count.
            return bound
        self._last_reply = time.monotonic()
        return exact


def _readable(conversation: Conversation) -> list[Turn]:
    return [Turn(turn.role, neutralise(turn.text)) for turn in conversation]


def _failed(error: Exception) -> Verdict:
    """An error of ours, which the log shows in whole."""
    _guard_log.exception("a turn could not be judged: this is a bug", exc_info=error)
    return Verdict.none(f"the check failed in a way that is our bug ({type(error).__name__}): see the log")
