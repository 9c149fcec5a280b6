import pytest

from moderation.lru_cache import LruCache


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ("set a, set b", "ab"),
        ("set a, set b, set c", "bc"),
        ("set a, set b, get a, set c", "ac"),
        ("set a, set b, set a, set c", "ac"),
        ("set a, set b, get x, set c", "bc"),
    ],
)
def test_the_least_recently_used_value_is_evicted(steps: str, kept: str) -> None:
    cache: LruCache[str, str] = LruCache(2)
    for step in steps.split(", "):
        verb, key = step.split()
        if verb == "set":
            cache[key] = key.upper()
        else:
            cache.get(key)
    assert [key for key in "abcx" if cache.get(key) == key.upper()] == list(kept)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_it_never_holds_more_than_its_size(size: int) -> None:
    cache: LruCache[int, int] = LruCache(size)
    for number in range(10):
        cache[number] = number
        assert len(cache) == min(number + 1, size)


def test_a_value_is_replaced() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache["a"] = 1
    cache["a"] = 2
    assert (cache.get("a"), len(cache)) == (2, 1)
