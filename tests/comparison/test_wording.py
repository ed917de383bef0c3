from hypothesis import given
from hypothesis import strategies as st

from fromnoise.comparison.wording import cut


@given(st.text(st.characters()), st.integers(2, 40))
def test_cut_names_are_printable_and_short(text, limit):
    shown = cut(text, limit)
    assert shown.isprintable() and len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_cut_shows_that_and_what_it_left_out():
    assert cut("abcdef", 6) == "abcdef" and cut("abcdefg", 6) == "abcde…"
    assert cut("a\nb\ud800\u202e", 40) == r"a\nb\ud800\u202e"
