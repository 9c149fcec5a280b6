"""What protects the chats: the guarded models, the filter, or both."""

from __future__ import annotations

import os
from enum import StrEnum

from demo.errors import StackError


class Protection(StrEnum):
    """`guarded`: users have guarded models only. `filter`: they have the direct models, and the filter checks them.
    `both`: guarded models first, then the direct ones with the filter.
    """

    GUARDED = "guarded"
    FILTER = "filter"
    BOTH = "both"

    @classmethod
    def from_environment(cls) -> Protection:
        """The value of PROTECTION; `guarded` if it is not set. Raises `StackError`."""
        wanted = os.environ.get("PROTECTION", "").strip().lower() or cls.GUARDED
        try:
            return cls(wanted)
        except ValueError:
            raise StackError(f"PROTECTION={wanted}: it must be one of {', '.join(cls)}.") from None

    @property
    def guarded(self) -> bool:
        return self is not Protection.FILTER

    @property
    def direct(self) -> bool:
        """Whether users have the chat model itself."""
        return self is not Protection.GUARDED
