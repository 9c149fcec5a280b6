import threading

import pytest

from pipelines.lifecycle.places import NoPlace, Place, Places


def fill(places: Places, user: str) -> list[Place]:
    """All places that a user can get."""
    held = []
    while True:
        try:
            held.append(places.take(user))
        except NoPlace:
            return held


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (3, 2), (200, 134), (1000, 667)])
def test_a_single_user_gets_two_thirds_and_leaves_places_for_others(limit: int, most: int) -> None:
    places = Places(limit)
    assert len(fill(places, "a")) == most
    with pytest.raises(NoPlace) as refused:
        places.take("a")
    assert refused.value.status == (503 if most == limit else 429)
    assert "try again" in str(refused.value)


def test_each_further_user_gets_a_place_until_all_are_taken() -> None:
    places = Places(100)
    got = [len(fill(places, f"user {number}")) for number in range(10)]
    assert got[0] == 67
    assert sum(got) == places.taken == 100
    assert sorted(got, reverse=True) == got
    with pytest.raises(NoPlace, match="Too many requests") as refused:
        places.take("late")
    assert (refused.value.status, "all 100 places" in refused.value.cause) == (503, True)


def test_a_program_that_names_no_user_is_limited_only_by_the_total() -> None:
    places = Places(50)
    assert len(fill(places, "")) == 50


def test_a_place_is_released_only_once() -> None:
    places = Places(2)
    first, second = fill(places, "")
    for _ in range(3):
        first.give_back()
    assert places.taken == 1
    second.give_back()
    assert places.taken == 0


def test_concurrent_threads_lose_no_place() -> None:
    places, peaks = Places(8), []

    def come_and_go() -> None:
        for number in range(2000):
            try:
                place = places.take(f"user {number % 7}")
            except NoPlace:
                continue
            peaks.append(places.taken)
            place.give_back()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (places.taken, max(peaks) <= 8, len(peaks) > 0) == (0, True, True)
