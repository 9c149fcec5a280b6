"""A dictionary of bounded size."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

# `class LruCache[Key, Value]` is Python 3.12.
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class LruCache(Generic[_Key, _Value]):
    """Holds values of a total weight of at most `size`; evicts the least recently used. With a size of 0 it is empty.

    Each step takes constant time, plus the number of evicted values. Use from one thread.

    Args:
        size: in the unit of `weigh`.
        weigh: the weight of one value, which must not change; without it each value weighs 1.
    """

    def __init__(self, size: int, weigh: Callable[[_Value], int] | None = None) -> None:
        self._size = size
        self._weigh = weigh or (lambda _: 1)
        self._weight = 0
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    @property
    def weight(self) -> int:
        """The weight of all values together."""
        return self._weight

    def __len__(self) -> int:
        return len(self._values)

    def __setitem__(self, key: _Key, value: _Value) -> None:
        if key in self._values:
            self._weight -= self._weigh(self._values.pop(key))
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._size:
            self._weight -= self._weigh(self._values.popitem(last=False)[1])

    def get(self, key: _Key) -> _Value | None:
        """The value of `key`, or None. Counts as a use."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]
