"""A streamed answer of a guarded model."""

import asyncio
from collections.abc import AsyncIterator

from moderation.channels import Piece
from moderation.holdback import HoldBack
from moderation.review import Review
from moderation.watch import End, Watched, Watcher
from pipelines.answer import Answer
from pipelines.answer_reader import AnswerReader, AnswerUnreadable
from pipelines.chunks import chunks_of, end_chunk, error_chunk, notice_chunk, retraction_chunk, with_role
from pipelines.exchange import Cleared, Exchange, MediaWithheld
from pipelines.log import log
from pipelines.prompt import Cleaned, Refused
from pipelines.upstream import UpstreamFailed
from pipelines.webui import Body

_CHUNKS_AT_A_TIME = 8


class Streamed:
    """Writes the answer to one exchange."""

    def __init__(self, exchange: Exchange, answer: Answer) -> None:
        self._exchange = exchange
        self._answer = answer
        self._reader = AnswerReader()
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
            self._answer.write(error_chunk(await exchange.told(failed), failed.status))
            self._answer.write(end_chunk(self._reader.envelope, "error"))
        except MediaWithheld as withheld:
            self._exchange.record_answer(
                self._text, withheld.review.verdict, withheld.review.decision, unjudged=self._media
            )
            self._write_notice(exchange.unchecked(self._text))
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
        exchange, terms, self._reader = self._exchange, self._exchange.terms, AnswerReader()
        pieces = self._pieces(cleaned)
        if terms.exempt:
            held = HoldBack()
            async for piece in pieces:
                held.feed(piece)
                self._emit(held.release_all())
            return None
        moderator = exchange.moderator
        self._watcher = Watcher(
            moderator.guard,
            moderator.policy,
            cleaned.context,
            self._emit,
            cleared,
            hold=terms.hold,
            pictures=terms.pictures,
        )
        return await self._watcher.watch(pieces)

    async def _pieces(self, cleaned: Cleaned) -> AsyncIterator[Piece]:
        exchange, reader, number = self._exchange, self._reader, 0
        try:
            async with exchange.upstream.stream(exchange.sent(cleaned), exchange.headers) as chunks:
                async for chunk in chunks:
                    pieces = list(reader.pieces_of(chunk))
                    exchange.check_media(reader.media)
                    for piece in pieces:
                        yield piece
                    exchange.check_media(self._media)
                    # Many chunks may have come at once, and other streams' checks must not wait for all of them.
                    number += 1
                    if number % _CHUNKS_AT_A_TIME == 0:
                        await asyncio.sleep(0)
        except AnswerUnreadable as error:
            raise UpstreamFailed(str(error), 502) from None
        # A server may say that it is done without a reason.
        reader.finish.setdefault(0, "stop")
        for piece in reader.pieces_at_end():
            yield piece

    def _emit(self, pieces: list[Piece]) -> None:
        for chunk in chunks_of(pieces, self._reader):
            self._write(chunk)

    def _write(self, chunk: Body) -> None:
        self._answer.write(chunk if self._shown or not chunk["choices"] else with_role(chunk))
        self._shown = self._shown or bool(chunk["choices"])

    def _write_notice(self, notice: str) -> None:
        envelope = self._reader.envelope
        if self._shown and self._exchange.terms.retracts:
            self._answer.write(retraction_chunk(envelope, notice))
            return
        self._write(notice_chunk(envelope, f"\n\n{notice}" if self._shown else notice))
        self._write(end_chunk(envelope, self._exchange.notice_reason))

    def _record(self, problem: str | None = None) -> None:
        verdict, decision = (self._watcher and self._watcher.last) or (None, None)
        self._exchange.record_answer(self._text, verdict, decision, problem=problem, unjudged=self._media)

    @property
    def _text(self) -> str:
        return self._watcher.text if self._watcher else ""

    @property
    def _media(self) -> list[str]:
        """Kinds of parts of the answer that nobody can judge."""
        inside = self._watcher.media if self._watcher else []
        return list(dict.fromkeys([*self._reader.media, *inside]))
