"""Judges conversations: with a deadline, a cache of verdicts, a circuit breaker, and windows for long turns."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from moderation.breaker import Breaker
from moderation.context import NO_CONTEXT, Context, TurnReading
from moderation.context_window import ContextWindows, surely_fitting
from moderation.conversation import Conversation, Role, Turn
from moderation.endpoint.backend import Server
from moderation.endpoint.one_token import REPLY_TOKENS
from moderation.endpoint.problems import shown_address
from moderation.endpoint.server_facts import ServerFacts
from moderation.endpoint.server_tokens import TEMPLATE_TOKENS
from moderation.errors import Crowded, EndpointDown, EndpointError, TooLong
from moderation.fair_slots import FairSlots, size_of
from moderation.lru_cache import LruCache
from moderation.probe import with_probe
from moderation.readings.finished_blocks import FinishedBlocks
from moderation.stream.stream_schema import StreamReply, StreamRequest
from moderation.two_readings import Reader, worst_reading
from moderation.verdict import Severity, Verdict, worst
from moderation.windows import fit

# Assumed if a server does not report it: Ollama's default. Too small costs windows; too large could cut turns silently.
DEFAULT_CONTEXT_TOKENS = 4096
# After this many time-outs in a row, judgements fail at once for so many seconds.
_BREAK_AFTER = 3
_BREAK_SECONDS = 2
# After that, so many judgements test the endpoint for all.
_BREAK_TRIES = 8

_NOTHING_SAID = Verdict(severity=Severity.SAFE)

# The plugins' own logger.
_guard_log = logging.getLogger("qwen3guard")


class Guard:
    """Judges the last turn of a conversation, with the earlier turns as context.

    Never raises because of a turn or an endpoint: a turn that cannot be judged gets a verdict without severity.
    To be used from one event loop.

    Args:
        endpoint: the server of Qwen3Guard.
        timeout: seconds for one judgement, retries and windows included.
        context_tokens: the guard's context; 0 to learn it from the endpoint.
        cache_size: verdicts kept, by the hash of their conversation.
        concurrency: concurrent requests to the endpoint, shared fairly among users (see `asker.asking_for`).
        two_readings: whether a disguised turn is judged without its disguise as well.
    """

    def __init__(
        self,
        endpoint: Server,
        *,
        timeout: float = 10,
        context_tokens: int = 0,
        cache_size: int = 10_000,
        concurrency: int = 64,
        two_readings: bool = True,
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._context_tokens = context_tokens
        self._verdicts: LruCache[tuple[str | None, bytes], Verdict] = LruCache(cache_size)
        self._in_flight: dict[bytes, asyncio.Task[Verdict]] = {}
        self._slots = FairSlots(concurrency)
        self._breaker = Breaker(_BREAK_AFTER, _BREAK_SECONDS, _BREAK_TRIES)
        self._last_reply = 0.0
        self._reader = Reader(undo=two_readings)
        self._context_windows = ContextWindows()

    async def streams(self) -> bool:
        """Whether the endpoint judges answers token by token; False also if it cannot be asked."""
        try:
            return (await self._endpoint.learn()).streams
        except EndpointError:
            return False

    async def obstacle(self) -> str | None:
        """Why the endpoint cannot be asked, in words for an admin; None if it lists its model. Judges nothing."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._endpoint.learn()
        except (EndpointError, TimeoutError) as error:
            return str(error) or f"no verdict within {self._timeout:g} s from {shown_address(self._endpoint.base_url)}"
        except Exception as error:
            return _failed(error).problem
        return None

    async def send_stream(self, request: StreamRequest) -> StreamReply | None:
        """Send the next part of a stream. The reply; None if it cannot be read. To be called in `attempt`.

        Raises:
            EndpointError
        """
        return await self._endpoint.stream(request)

    async def drop_stream(self, key: str) -> None:
        """Close an open stream at the endpoint."""
        await self._endpoint.drop_stream(key)

    @property
    def model(self) -> str | None:
        """The guard model's name; None before the endpoint was reached."""
        return self._endpoint.model

    @property
    def facts(self) -> ServerFacts | None:
        """The newest facts about the endpoint, without asking it; None if there are none."""
        return self._endpoint.facts

    async def read(self, text: str, finished: FinishedBlocks | None = None) -> TurnReading:
        """A text as this guard reads it. If it was read before, this takes microseconds.

        Args:
            text: of a turn.
            finished: of the same turn, if it grows and is read more than once.
        """
        return await self._reader.read(text, finished)

    async def context(self, turns: Conversation) -> Context:
        """Turns as the context of others."""
        context = NO_CONTEXT
        for role, text in turns:
            context = context.then(role, await self.read(text))
        return context

    def cached(self, context: Context, role: Role, reading: TurnReading) -> Verdict | None:
        """The cached verdict on a turn, by this model in the same context; None if there is none."""
        return _NOTHING_SAID if _says_nothing(reading) else self._cached(context.key_with(role, reading))

    def add_to_cache(self, context: Context, role: Role, reading: TurnReading, verdict: Verdict) -> None:
        """Cache `verdict` for a turn in this context too."""
        if self._endpoint.model is not None:
            self._verdicts[self._endpoint.model, context.key_with(role, reading)] = verdict

    async def judge(self, conversation: Conversation) -> Verdict:
        """The verdict on the last turn: the worse one of its readings."""
        try:
            *before, turn = conversation
            context, reading = await self.context(before), await self.read(turn.text)
        except Exception as error:
            return _failed(error)
        return await self.judge_turn(context, turn.role, reading)

    async def judge_turn(self, context: Context, role: Role, reading: TurnReading) -> Verdict:
        """The verdict on one turn after `context`. Equal turns are judged once, also if they arrive concurrently."""
        if _says_nothing(reading):
            return _NOTHING_SAID
        key = context.key_with(role, reading)
        cached = self._cached(key)
        # A server whose facts are too old may have another model.
        if cached is not None and self._endpoint.learnt:
            return cached
        task = self._in_flight.get(key)
        if task is None:
            task = self._in_flight[key] = asyncio.create_task(self._judge(key, context, role, reading))
            task.add_done_callback(lambda done: self._in_flight.pop(key))
        # Shielded, since other callers may wait for the same verdict; the task ends at its own deadline.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Wait for judgements in flight, at most until their deadlines, and close the connections."""
        await asyncio.gather(*self._in_flight.values(), return_exceptions=True)
        await self._endpoint.aclose()

    def _cached(self, key: bytes) -> Verdict | None:
        return self._verdicts.get((self._endpoint.model, key))

    async def _judge(self, key: bytes, context: Context, role: Role, reading: TurnReading) -> Verdict:
        verdict = await self.attempt(partial(self._judge_once, key, context, role, reading))
        # While the endpoint does not answer, cached verdicts are used.
        return verdict if verdict.reached else self._cached(key) or verdict

    async def attempt(self, work: Callable[[], Awaitable[Verdict]]) -> Verdict:
        """The verdict that `work` gets from the endpoint; without severity if there is none in time.

        Never raises: an error of ours is logged with its traceback, and does not count against the endpoint.
        """
        address = shown_address(self._endpoint.base_url)
        if not self._breaker.admits():
            return Verdict.none(f"{address} did not answer a moment ago")
        try:
            verdict = await self._in_time(work, address)
        except Crowded as error:
            return Verdict.none(str(error))
        except EndpointDown as error:
            self._breaker.failed()
            return Verdict.none(str(error))
        except EndpointError as error:
            self._breaker.succeeded()
            return Verdict.none(str(error))
        except Exception as error:
            return _failed(error)
        self._breaker.succeeded()
        return verdict

    async def _in_time(self, work: Callable[[], Awaitable[Verdict]], address: str) -> Verdict:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                return await work()
        except TimeoutError:
            problem = f"no verdict within {self._timeout:g} s from {address}"
            if self._last_reply < started:
                raise EndpointDown(problem) from None
            return Verdict.none(problem)

    async def _judge_once(self, key: bytes, context: Context, role: Role, reading: TurnReading) -> Verdict:
        """Judge with the facts about the server as they are now, even if others find out more meanwhile."""
        facts = await self._endpoint.learn()
        verdict = self._verdicts.get((facts.model, key))
        if verdict is None:
            texts = [text for text in (reading.seen, reading.undone) if text]
            chat = context.then(role, reading)
            judged = (self._judge_in_windows(facts, context, Turn(role, text), chat) for text in texts)
            found = worst_reading(await asyncio.gather(*judged, return_exceptions=True))
            verdict = with_probe(found, role, reading.seen)
            if verdict.reached:
                self._verdicts[facts.model, key] = verdict
        return verdict

    async def _judge_in_windows(self, facts: ServerFacts, context: Context, turn: Turn, chat: Context) -> Verdict:
        """The verdict on `turn`, which is one reading of the last turn of `chat`."""
        limit = self._context_tokens or facts.context_tokens or DEFAULT_CONTEXT_TOKENS
        counted = True
        while True:
            room = limit - REPLY_TOKENS
            windows = await self._windows_of(facts if counted else None, context, turn, room)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._ask(facts, window)) for window in windows]
            except ExceptionGroup as errors:
                error = errors.exceptions[0]
                if not isinstance(error, TooLong):
                    raise error from None
                if error.limit is not None and error.limit < limit:
                    # The endpoint's own limit, if it was unknown.
                    limit = error.limit
                elif counted:
                    # The counts do not help: a server may reject a text for its number of characters.
                    counted = False
                else:
                    limit //= 2
            else:
                verdict = worst([task.result() for task in tasks])
                if len(windows) == 1 and chat.text == turn.text and verdict.prompt_tokens and facts.counts:
                    self._context_windows.learn(chat, chat.length - len(windows[0]), room, verdict.prompt_tokens)
                return verdict.model_copy(update={"prompt_tokens": None})

    async def _windows_of(
        self, facts: ServerFacts | None, context: Context, turn: Turn, room: int
    ) -> list[Conversation]:
        """The turn with as much of its context as fits; if counts cannot be trusted, with what fits for certain."""
        size = _size(turn)
        if facts is None:
            kept = surely_fitting(context, size, room)
        else:
            kept = context.turns(self._context_windows.start(context, size, room))
        if TEMPLATE_TOKENS + size <= room and (kept or not context.length):
            return [[*kept, turn]]
        return await fit([*context.turns(context.length - 1), turn], room, partial(self._count, facts, room))

    async def _ask(self, facts: ServerFacts, conversation: Conversation) -> Verdict:
        async with self._slots.slot(size_of(conversation)):
            verdict = await self._endpoint.ask(conversation, facts)
        self._last_reply = time.monotonic()
        return verdict

    async def _count(self, facts: ServerFacts | None, room: int, conversation: Conversation) -> int:
        """Tokens of a prompt: the endpoint of `facts` is asked only if a bound by bytes is more than `room`."""
        bound = TEMPLATE_TOKENS + sum(map(_size, conversation))
        if bound <= room or facts is None:
            return bound
        exact = await self._endpoint.count(conversation, facts)
        if exact is None or exact > 4 * bound:
            # An impossible number is not used as a count.
            return bound
        self._last_reply = time.monotonic()
        return exact


def _says_nothing(reading: TurnReading) -> bool:
    return not reading.seen and not reading.undone


def _size(turn: Turn) -> int:
    return len(turn.text.encode("utf-8", "surrogatepass"))


def _failed(error: Exception) -> Verdict:
    """A verdict for an error of ours, which is logged with its traceback."""
    _guard_log.exception("a turn could not be judged: this is a bug", exc_info=error)
    return Verdict.none(f"the check failed in a way that is our bug ({type(error).__name__}): see the log")
