from hypothesis import given
from hypothesis import strategies as st

from moderation.answer.channels import Channel, Channels, Piece, Rank
from moderation.answer.holdback import HoldBack

REASONING = Channel(0, Rank.REASONING, 0, "reasoning")
TWIN = Channel(0, Rank.REASONING, 0, "reasoning_content")
CONTENT = Channel(0, Rank.CONTENT, 0, "content")
SECOND = Channel(1, Rank.CONTENT, 0, "content")
NAME = Channel(0, Rank.CALL, 0, "0 name")
ARGUMENTS = Channel(0, Rank.CALL, 0, "1 text")
OTHER_CALL = Channel(0, Rank.CALL, 1, "1 text")
LABEL = Channel(0, Rank.OTHER, 0, "severity")

WORDS = st.text("ab 好.", min_size=1, max_size=8)
PIECES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([REASONING, CONTENT, SECOND, NAME, ARGUMENTS, OTHER_CALL]), WORDS).map(
            lambda pair: [Piece(*pair)]
        ),
        # The same text under two keys, as vLLM sends it.
        WORDS.map(lambda text: [Piece(TWIN, text), Piece(REASONING, text)]),
        st.integers().map(lambda payload: [Piece(payload=payload)]),
    ),
    max_size=30,
).map(lambda groups: [piece for group in groups for piece in group])


def texts(pieces: list[Piece]) -> dict[Channel, str]:
    found: dict[Channel, str] = {}
    for piece in pieces:
        if piece.channel is not None:
            found[piece.channel] = found.get(piece.channel, "") + piece.text
    return found


def payloads(pieces: list[Piece]) -> list[object]:
    return [piece.payload for piece in pieces if piece.channel is None]


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 200), max_size=10), words=st.booleans())
def test_all_text_is_released_at_the_end_and_before_only_cleared_text(
    pieces: list[Piece], cuts: list[int], words: bool
) -> None:
    held, out, sent = HoldBack(), [], dict[Channel, str]()
    for number, piece in enumerate(pieces):
        held.feed(piece)
        sent = texts(pieces[: number + 1])
        if number < len(cuts):
            reading = held.reading(words=words)
            out += held.release(reading, min(cuts[number], len(reading.text)), words=words)
        for channel, text in texts(out).items():
            assert channel.released
            assert sent[channel].startswith(text)
    whole = held.reading(words=False)
    out += held.release(whole, len(whole.text), end=True)
    assert texts(out) == {channel: text for channel, text in sent.items() if channel.released}
    assert payloads(out) == payloads(pieces)


@given(pieces=PIECES, cleared=st.integers(0, 200))
def test_released_text_is_in_the_cleared_part_of_the_reading(pieces: list[Piece], cleared: int) -> None:
    held = HoldBack()
    for piece in pieces:
        held.feed(piece)
    reading = held.reading(words=False)
    cleared = min(cleared, len(reading.text))
    for text in texts(held.release(reading, cleared)).values():
        assert text in reading.text[:cleared]


@given(pieces=PIECES)
def test_each_text_is_in_the_reading_whole_and_once(pieces: list[Piece]) -> None:
    held = HoldBack()
    for piece in pieces:
        held.feed(piece)
    found = texts(pieces)
    kept = {(span.channels[0][0]) for span in held.reading(words=False).spans}
    for channel, text in found.items():
        assert text in held.text
        said_elsewhere = any(
            other.choice == channel.choice and found[other].startswith(text) for other in kept - {channel}
        )
        assert channel in kept or said_elsewhere
    assert len(held.text) == sum(len(found[channel]) for channel in kept) + max(0, len(kept) - 1)


@given(pieces=PIECES)
def test_the_order_of_channels_does_not_matter(pieces: list[Piece]) -> None:
    found = texts(pieces)
    together, apart = Channels(), Channels()
    for piece in pieces:
        if piece.channel is not None:
            apart.append(piece.channel, piece.text)
    for channel in sorted(found, reverse=True):
        together.append(channel, found[channel])
    assert together.reading().text == apart.reading().text


def test_a_reading_ends_after_a_whole_word_of_the_newest_text() -> None:
    held = HoldBack()
    held.feed(Piece(REASONING, "Let me thi"))
    held.feed(Piece(CONTENT, "A calm da"))
    assert held.reading(words=True).text == "Let me thi\nA calm "
    assert held.finished_words() == held.arrived - len("da")


def test_a_repeated_text_is_read_once_and_released_in_step() -> None:
    held = HoldBack()
    for part in ("It is a ca", "lm day"):
        held.feed(Piece(REASONING, part))
        held.feed(Piece(TWIN, part))
    reading = held.reading(words=True)
    assert reading.text == "It is a calm "
    assert held.release(reading, 8) == [Piece(REASONING, "It is a "), Piece(TWIN, "It is a ")]


def test_the_parts_of_a_text_are_one_piece_and_come_with_payloads() -> None:
    held = HoldBack()
    for word in ("How ", "are ", "you?"):
        held.feed(Piece(CONTENT, word))
        held.feed(Piece(payload=word))
    reading = held.reading(words=False)
    out = held.release(reading, len(reading.text))
    assert out == [Piece(CONTENT, "How are you?"), *(Piece(payload=word) for word in ("How ", "are ", "you?"))]


def test_a_payload_waits_for_the_text_before_it() -> None:
    held = HoldBack()
    held.feed(Piece(CONTENT, "How "))
    reading = held.reading(words=False)
    held.feed(Piece(CONTENT, "are you?"))
    held.feed(Piece(payload="picture"))
    assert held.release(reading, 4) == [Piece(CONTENT, "How ")]
    reading = held.reading(words=False)
    assert held.release(reading, len(reading.text))[-1] == Piece(payload="picture")


def test_a_label_is_not_judged_and_is_released_at_the_end() -> None:
    held = HoldBack()
    held.feed(Piece(CONTENT, "How are you? "))
    held.feed(Piece(LABEL, "safe", is_label=True))
    reading = held.reading(words=False)
    assert reading.text == "How are you? "
    assert [piece.channel for piece in held.release(reading, len(reading.text))] == [CONTENT]
    assert held.release(reading, len(reading.text), end=True) == [Piece(LABEL, "safe")]


def test_a_label_that_becomes_words_is_read_from_its_beginning() -> None:
    held = HoldBack()
    held.feed(Piece(LABEL, "how", is_label=True))
    held.feed(Piece(LABEL, " are you? "))
    assert held.text == "how are you? "


def test_an_endless_word_is_cut() -> None:
    held = HoldBack()
    held.feed(Piece(CONTENT, "a" * 59))
    assert held.finished_words() == 0
    held.feed(Piece(CONTENT, "a"))
    assert held.finished_words() == 60


def test_a_picture_inside_a_text_is_not_read_and_released_unchanged() -> None:
    picture = "![a](data:image/png;base64," + "aB3/" * 1000
    for pictures in (True, False):
        held = HoldBack(pictures=pictures)
        for start in range(0, len(picture), 100):
            held.feed(Piece(CONTENT, picture[start : start + 100]))
        held.feed(Piece(CONTENT, ") Nice. "))
        reading = held.reading(words=False)
        assert len(reading.text) < 120
        assert reading.text.endswith(") Nice. ")
        assert held.media == ["image"]
        (piece,) = held.release(reading, len(reading.text))
        assert piece.text == (f"{picture}) Nice. " if pictures else "![a](")
