"""What an answer released, in parts, so that an event loop serves others in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from moderation.answer.channels import Piece

# About a millisecond of work. Usually a check releases a handful; but with some servers, two for each of their events.
_PIECES_AT_A_TIME = 128


async def in_parts(pieces: Sequence[Piece]) -> AsyncIterator[Sequence[Piece]]:
    """The pieces, some at a time."""
    for start in range(0, len(pieces), _PIECES_AT_A_TIME):
        if start:
            await asyncio.sleep(0)
        yield pieces[start : start + _PIECES_AT_A_TIME]
