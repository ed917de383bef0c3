r"""Names are made printable, and numbers carry the digits that they have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromnoise.comparison.wording import amount, cut


@given(st.text(st.characters()), st.integers(2, 40))
def test_cut_names_are_printable_and_short(text, limit):
    shown = cut(text, limit)
    assert shown.isprintable() and len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_cut_shows_that_and_what_it_left_out():
    assert cut("abcdef", 6) == "abcdef" and cut("abcdefg", 6) == "abcde…"
    assert cut("a\nb\ud800\u202e", 40) == r"a\nb\ud800\u202e"


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (1.0, 2e-5, "1.0000"),  # a share of very many rows
        (0.0123, 2e-5, "0.012300"),
        (1.0, 0.0, "1.00"),
        (1.0, 0.0123, "1.000"),
        (0.0, 1e-3, "0.0000"),
        (1234.5678, 0.123, "1,234.57"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_supports(value, spread, text):
    assert amount(value, spread) == text
