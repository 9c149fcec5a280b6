"""A dictionary of bounded size."""

from collections import OrderedDict
from typing import Generic, TypeVar

# `class LruCache[Key, Value]` is Python 3.12.
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class LruCache(Generic[_Key, _Value]):
    """Remembers `size` values; the one that was not used for longest goes first. With a size of 0, none.

    Every step takes constant time. To be used from one thread.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __setitem__(self, key: _Key, value: _Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)

    def get(self, key: _Key) -> _Value | None:
        """The value of `key`, which is used by this; None if there is none."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]
