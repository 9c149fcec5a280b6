"""A streamed answer of a guarded model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from moderation.answer.channels import Piece
from moderation.answer.holdback import HoldBack
from moderation.answer.progress import End
from moderation.answer.watch import Watched, Watcher
from moderation.review import Review
from webui.bodies import Body
from webui.chat_completions import end_chunk, error_chunk, text_chunk, with_role
from webui.guarded.answer_reader import AnswerReader, AnswerUnreadable
from webui.guarded.chunks import chunks_of, retraction_chunk
from webui.guarded.guarded_request import Cleared, GuardedRequest, MediaWithheld
from webui.guarded.upstream import UpstreamFailed
from webui.log import log
from webui.request_review import CleanRequest, RequestRefused

_CHUNKS_AT_A_TIME = 8


class AnswerSink(Protocol):
    """Where a host takes a streamed answer."""

    def write(self, chunk: Body) -> None:
        """Add a chunk. Never waits."""

    def end(self) -> None:
        """Nothing comes after this."""

    async def abandoned(self) -> None:
        """Returns when nobody reads any longer; never, if the host cancels the writing itself."""


class Streamed:
    """Writes the answer to one request.

    Args:
        request: what is answered.
        answer: gets it.

    Raises:
        UpstreamFailed: the request asks for several choices, which cannot be held back one by one.
    """

    def __init__(self, request: GuardedRequest, answer: AnswerSink) -> None:
        if request.choices != 1:
            raise UpstreamFailed("Guarded models stream one choice at a time: leave n out.", 400)
        self._request = request
        self._answer = answer
        self._reader_left = False
        self._reader = AnswerReader()
        self._shown = False
        self._preface = ""
        self._watcher: Watcher | None = None

    async def write(self) -> None:
        """Write the answer to an end that its reader can read, also after an error; stop when nobody reads."""
        relaying = asyncio.create_task(self._relay())
        relaying.add_done_callback(lambda _: self._answer.end())
        leaving = asyncio.create_task(self._answer.abandoned())
        try:
            await asyncio.wait({relaying, leaving}, return_when=asyncio.FIRST_COMPLETED)
            self._reader_left = not relaying.done()
        finally:
            relaying.cancel()
            leaving.cancel()
            await asyncio.gather(relaying, leaving, return_exceptions=True)

    async def _relay(self) -> None:
        request = self._request
        try:
            watched = await request.answered(self._attempt)
        except RequestRefused as refused:
            self._write_notice(refused.answer)
        except UpstreamFailed as failed:
            self._record(f"the upstream failed: {failed}")
            self._answer.write(error_chunk(await request.explained(failed), failed.status))
            self._answer.write(end_chunk(self._reader.envelope, "error"))
        except MediaWithheld as withheld:
            self._request.record_answer(
                self._text, withheld.review.verdict, withheld.review.decision, unjudged=self._media
            )
            self._write_notice(request.notices.unchecked(self._text))
        except asyncio.CancelledError:
            self._record("the reader left" if self._reader_left else "the server stopped")
            self._write_notice(request.notices.unchecked(self._text))
            raise
        except Exception as error:
            # An error of ours is no reason to show what nobody judged.
            log.exception("a guarded answer failed")
            self._record(f"the relay failed: {type(error).__name__}")
            self._write_notice(request.notices.unchecked(self._text))
        else:
            if watched is not None:
                self._record()
            if watched is not None and watched.end is not End.COMPLETE:
                review = Review(watched.verdict, watched.decision, 0, True)
                self._write_notice(request.notices.withheld(review, self._text))

    async def _attempt(self, cleaned: CleanRequest, cleared: Cleared) -> Watched | None:
        """None if nobody judges."""
        request, self._reader = self._request, AnswerReader()
        self._preface = request.preface(cleaned)
        pieces = self._pieces(cleaned)
        if request.exempt:
            held = HoldBack()
            async for piece in pieces:
                held.feed(piece)
                self._emit(held.release_all())
            return None
        moderator = request.moderator
        self._watcher = Watcher(
            moderator.guard,
            moderator.policy,
            cleaned.context,
            self._emit,
            cleared,
            hold=request.terms.hold,
            pictures=moderator.valves.images == "allow",
        )
        return await self._watcher.watch(pieces)

    async def _pieces(self, cleaned: CleanRequest) -> AsyncIterator[Piece]:
        request, reader, number = self._request, self._reader, 0
        try:
            async with request.upstream.stream(request.sent(cleaned), request.terms.headers) as chunks:
                async for chunk in chunks:
                    pieces = list(reader.pieces_of(chunk))
                    request.check_media(reader.media)
                    for piece in pieces:
                        yield piece
                    # Those of the reader were checked before any of it went on.
                    request.check_media(self._watcher.media if self._watcher else ())
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

    def _emit(self, pieces: Sequence[Piece]) -> None:
        if pieces and self._preface:
            self._write(text_chunk(self._reader.envelope, self._preface))
            self._preface = ""
        for chunk in chunks_of(pieces, self._reader):
            self._write(chunk)

    def _write(self, chunk: Body) -> None:
        self._answer.write(chunk if self._shown or not chunk["choices"] else with_role(chunk))
        self._shown = self._shown or bool(chunk["choices"])

    def _write_notice(self, notice: str) -> None:
        envelope = self._reader.envelope
        if self._shown and self._request.terms.retracts:
            self._answer.write(retraction_chunk(envelope, notice))
            return
        self._write(text_chunk(envelope, f"\n\n{notice}" if self._shown else notice))
        self._write(end_chunk(envelope, self._request.notices.finish_reason))

    def _record(self, problem: str | None = None) -> None:
        verdict, decision = (self._watcher and self._watcher.last) or (None, None)
        self._request.record_answer(self._text, verdict, decision, problem=problem, unjudged=self._media)

    @property
    def _text(self) -> str:
        return self._watcher.text if self._watcher else ""

    @property
    def _media(self) -> list[str]:
        """Kinds of parts of the answer that nobody can judge."""
        inside = self._watcher.media if self._watcher else []
        return list(dict.fromkeys([*self._reader.media, *inside]))
