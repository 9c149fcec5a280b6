import time

from hypothesis import example, given
from hypothesis import strategies as st

from moderation.answer.continuous_text import ContinuousText

DATA = "aB3/" * 60
TEXT = f"See ![a](data:image/png;base64,{DATA}) and data:image/png;base64,ab 😊 or data:audio/wav;base64,{DATA}{DATA}. "


def cut(text: str, places: list[int]) -> ContinuousText:
    held, before = ContinuousText(), 0
    for place in (*sorted(place % (len(text) + 1) for place in places), len(text)):
        held.append(text[before:place])
        before = place
    return held


@given(places=st.lists(st.integers(0, 2000), max_size=30), steps=st.lists(st.integers(1, 60), min_size=5))
def test_the_pieces_of_a_text_do_not_change_what_is_read_and_released(places: list[int], steps: list[int]) -> None:
    held = cut(TEXT, places)
    assert held.readable == cut(TEXT, []).readable
    assert list(held.media) == ["image", "audio"]
    taken, upto = "", 0
    while upto < held.readable_length:
        upto += steps[upto % len(steps)]
        taken += held.take(upto)
    assert taken == TEXT


def test_only_the_beginning_of_pictures_is_read() -> None:
    readable = cut(TEXT, []).readable
    kept = DATA[:64]
    assert readable == (
        f"See ![a](data:image/png;base64,{kept}) and data:image/png;base64,ab 😊 or data:audio/wav;base64,{kept}. "
    )
    assert list(cut(TEXT.replace("data:", "DATA:").replace("base64", "BaSe64"), [20, 35]).media) == ["image", "audio"]


@given(text=st.text(), places=st.lists(st.integers(0, 50), max_size=5))
@example(text="a😊b", places=[1, 2])
def test_a_text_without_pictures_is_read_as_it_is(text: str, places: list[int]) -> None:
    text = text.encode("utf-8", "ignore").decode()
    # As in JSON: a character beyond 16 bits is a surrogate pair.
    units = text.encode("utf-16-le")
    halves = "".join(chr(int.from_bytes(units[at : at + 2], "little")) for at in range(0, len(units), 2))
    held = cut(halves, places)
    assert held.readable == text == held.take(held.readable_length)


def test_half_a_character_is_replaced() -> None:
    held = cut("a\ud83db", [])
    assert held.take(9) == held.readable == "a\ufffdb"


def test_the_cost_is_linear_in_the_text() -> None:
    def seconds(count: int) -> float:
        started = time.process_time()
        held = ContinuousText()
        for _ in range(count):
            held.append("data:image/")
            held.append("png;base64,")
            held.append("aB3/" * 50 + " ")
        assert held.readable_length > count
        return time.process_time() - started

    seconds(100)
    assert min(seconds(8000) for _ in range(3)) < 8 * min(seconds(1000) for _ in range(3)) * 4
