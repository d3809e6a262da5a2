"""The seam: what repeats is cut however it is cut into pieces, and nothing else is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher.dispatcher.continuation import OverlapTrimmer

MOST = 400
TEXTS = st.text(st.sampled_from("ab \n1é."), max_size=40)


def joined(said, pieces, most=MOST, **settings):
    seam = OverlapTrimmer(said, most, **settings)
    return "".join([seam.feed(piece) for piece in pieces]) + seam.flush()


def pieces_of(text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def is_word(sign):
    return sign.isalnum()


def longest(said, text, most):
    """The longest end of ``said`` that ``text`` begins with and that begins with a word or is no chance, by trying all."""
    for size in range(min(most, len(said)), 0, -1):
        at = len(said) - size
        counts = size >= 8 or at == 0 or not (is_word(said[at - 1]) and is_word(said[at]))
        if counts and text.startswith(said[at:]):
            return size
    return 0


@given(TEXTS, TEXTS, st.lists(st.integers(0, 60)), st.integers(0, 20))
def test_the_longest_repetition_is_cut_in_whatever_pieces_it_comes(said, text, cuts, most):
    """As if all had been there at once."""
    assert text[longest(said, text, most) :] == joined(said, pieces_of(text, cuts), most)


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.integers(0, 60)))
def test_nothing_is_invented(said, text, cuts):
    """What comes out is an end of what came in."""
    assert text.endswith(joined(said, pieces_of(text, cuts)))


@given(st.text(min_size=8, max_size=60), st.integers(8, 60), st.lists(st.integers(0, 60)))
def test_a_repeated_end_leaves_what_is_new(said, size, cuts):
    """The two texts together are the whole, if what is new does not look like the text itself."""
    new = "\N{SNOWMAN} and so on"
    assert new == joined(said, pieces_of(said[-size:] + new, cuts))


@given(st.text(max_size=40), st.sampled_from(["", " ", "\n\n", " \n "]))
def test_a_model_that_went_on_by_itself_loses_blanks_only(said, blanks):
    """What it was not given at the end, and says itself, is cut; nothing else, even if it looks the same."""
    said = said.rstrip()
    assert said[-10:] + "x" == joined(said, [said[-10:] + "x"], blanks_only=True) or said[-10:].isspace()
    assert "x" == joined(said + blanks, [blanks, "x"], blanks_only=True)


@pytest.mark.parametrize(
    ("said", "pieces", "rest"),
    [
        ("The quick brown fo", ["brow", "n fox ", "jumps"], ["", "x ", "jumps"]),
        ("butt", ["ter"], ["ter"]),
        ("wait", ["", "wa", "s"], ["", "", "was"]),
        ("", ["a"], ["a"]),
    ],
)
def test_what_is_held_back(said, pieces, rest):
    """Only as long as it may repeat."""
    seam = OverlapTrimmer(said, MOST)
    assert rest == [seam.feed(piece) for piece in pieces]


def test_a_long_text_costs_little():
    """A repetition of as many signs as are looked at, sign by sign."""
    said = "a" * 100_000
    seam = OverlapTrimmer(said, MOST)
    out = "".join([seam.feed("a") for _ in range(2000)]) + seam.flush()

    assert "a" * (2000 - MOST) == out
