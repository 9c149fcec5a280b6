"""A streamed answer of a guarded model."""

import asyncio
from collections.abc import AsyncIterator

from moderation.holdback import Piece
from moderation.review import Review
from moderation.watch import End, Watched, Watcher
from pipelines.answer import Answer
from pipelines.chunks import (
    chunks_of,
    end_chunk,
    envelope_of,
    error_chunk,
    finishes,
    notice_chunk,
    pieces_of,
    retraction_chunk,
    with_role,
)
from pipelines.exchange import Cleared, Exchange
from pipelines.log import log
from pipelines.prompt import Cleaned, Refused
from pipelines.upstreams import UpstreamFailed
from pipelines.webui import Body

_CHUNKS_AT_A_TIME = 8


class Streamed:
    """Writes the answer to one exchange."""

    def __init__(self, exchange: Exchange, answer: Answer) -> None:
        self._exchange = exchange
        self._answer = answer
        self._envelope: Body = {}
        self._shown = False
        self._watcher: Watcher | None = None

    async def write(self) -> None:
        """Write to a readable end, whatever happens; stop when nobody reads."""
        relaying = asyncio.create_task(self._relay())
        relaying.add_done_callback(lambda _: self._answer.end())
        leaving = asyncio.create_task(self._answer.abandoned())
        try:
            await asyncio.wait({relaying, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            relaying.cancel()
            leaving.cancel()
            await asyncio.gather(relaying, leaving, return_exceptions=True)

    async def _relay(self) -> None:
        exchange = self._exchange
        try:
            watched = await exchange.answered(self._attempt)
        except Refused as refused:
            self._write_notice(exchange.refusal(refused))
        except UpstreamFailed as failed:
            self._record(f"the upstream failed: {failed}")
            self._answer.write(error_chunk(str(failed), failed.status))
            self._answer.write(end_chunk(self._envelope, "error"))
        except asyncio.CancelledError:
            self._record("the reader left, or the server stopped")
            self._write_notice(exchange.unchecked(self._text))
            raise
        except Exception as error:
            # An error of ours is no reason to show what nobody judged.
            log.exception("a guarded answer failed")
            self._record(f"the relay failed: {type(error).__name__}")
            self._write_notice(exchange.unchecked(self._text))
        else:
            if watched is not None:
                self._record()
            if watched is not None and watched.end is not End.COMPLETE:
                review = Review(watched.verdict, watched.decision, 0, True)
                self._write_notice(exchange.withheld(review, self._text))

    async def _attempt(self, cleaned: Cleaned, cleared: Cleared) -> Watched | None:
        """None where nobody judges."""
        exchange, self._envelope = self._exchange, {}
        pieces = self._pieces({**cleaned.fields, "messages": cleaned.messages})
        if exchange.terms.exempt:
            async for piece in pieces:
                self._emit([piece])
            return None
        moderator = exchange.moderator
        self._watcher = Watcher(
            moderator.guard, moderator.policy, cleaned.context, self._emit, cleared, hold=exchange.terms.hold
        )
        return await self._watcher.watch(pieces)

    async def _pieces(self, request: Body) -> AsyncIterator[Piece]:
        finished, number = False, 0
        async with self._exchange.upstream.stream(request) as chunks:
            async for chunk in chunks:
                self._envelope = self._envelope or envelope_of(chunk)
                finished = finished or finishes(chunk)
                for piece in pieces_of(chunk):
                    yield piece
                # Many chunks may have come at once, and other streams' checks must not wait for all of them.
                number += 1
                if number % _CHUNKS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
        if not finished:
            raise UpstreamFailed("The model server ended before its answer was complete. Please try again.", 502)

    def _emit(self, pieces: list[Piece]) -> None:
        for chunk in chunks_of(pieces, self._envelope):
            self._write(chunk)

    def _write(self, chunk: Body) -> None:
        self._answer.write(chunk if self._shown or not chunk["choices"] else with_role(chunk))
        self._shown = self._shown or bool(chunk["choices"])

    def _write_notice(self, notice: str) -> None:
        if self._shown and self._exchange.terms.retracts:
            self._answer.write(retraction_chunk(self._envelope, notice))
            return
        self._write(notice_chunk(self._envelope, f"\n\n{notice}" if self._shown else notice))
        self._write(end_chunk(self._envelope, self._exchange.notice_reason))

    def _record(self, problem: str | None = None) -> None:
        verdict, decision = (self._watcher and self._watcher.last) or (None, None)
        self._exchange.record_answer(self._text, verdict, decision, problem=problem)

    @property
    def _text(self) -> str:
        return self._watcher.text if self._watcher else ""
