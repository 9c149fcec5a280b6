from hypothesis import given
from hypothesis import strategies as st

from moderation.holdback import HoldBack, Piece

CHANNELS = st.sampled_from(["content", "reasoning", "tool:0"])
PIECES = st.lists(
    st.one_of(
        st.tuples(CHANNELS, st.text("ab 好.", min_size=1, max_size=8)).map(lambda pair: Piece(*pair)),
        st.integers().map(lambda payload: Piece("usage", payload=payload)),
        st.tuples(st.text("ab ", max_size=4), st.integers(), st.booleans()).map(
            lambda drawn: Piece("tool:0", drawn[0], payload=drawn[1], whole=drawn[2])
        ),
    ),
    max_size=30,
)


def flat(pieces: list[Piece]) -> list[tuple[str, str]]:
    """One entry per character or payload, so that joins and cuts do not show."""
    out: list[tuple[str, str]] = []
    for piece in pieces:
        out += [(piece.channel, char) for char in piece.text]
        out += [(piece.channel, f"payload {piece.payload}")] if piece.payload is not None else []
    return out


@given(pieces=PIECES, cuts=st.lists(st.integers(0, 200), max_size=10))
def test_every_piece_comes_out_whole_and_in_order(pieces: list[Piece], cuts: list[int]) -> None:
    held, out = HoldBack(), []
    for number, piece in enumerate(pieces):
        held.feed(piece)
        if number < len(cuts):
            out += held.release(min(cuts[number], held.length))
    out += held.release(held.length, end=True)
    assert flat(out) == flat(pieces)


@given(pieces=PIECES, upto=st.integers(0, 200))
def test_what_comes_out_lies_before_the_cleared_offset_and_before_what_must_be_whole(
    pieces: list[Piece], upto: int
) -> None:
    held, before = HoldBack(), 0
    for piece in pieces:
        held.feed(piece)
    out = held.release(min(upto, held.length))
    assert flat(pieces)[: len(flat(out))] == flat(out)
    before = next((index for index, piece in enumerate(pieces) if piece.whole), len(pieces))
    assert len(flat(out)) <= len(flat(pieces[:before]))
    assert held.text[:upto].replace("\n", "").startswith("".join(piece.text for piece in out))


@given(pieces=PIECES)
def test_a_border_lies_behind_a_whole_word_and_never_goes_back(pieces: list[Piece]) -> None:
    held, last = HoldBack(), 0
    for piece in pieces:
        held.feed(piece)
        border = held.border()
        assert last <= border <= held.length
        assert border == 0 or held.text[border - 1] not in "ab" or held.length - border == 0
        last = border


def test_neighbours_are_one_frame() -> None:
    held = HoldBack()
    for word in ("How ", "are ", "you?"):
        held.feed(Piece("content", word))
    assert held.release(held.length) == [Piece("content", "How are you?")]


def test_an_endless_word_is_cut() -> None:
    held = HoldBack()
    held.feed(Piece("content", "a" * 59))
    assert held.border() == 0
    held.feed(Piece("content", "a"))
    assert held.border() == 60
