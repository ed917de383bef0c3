r"""Errors are ValueErrors, hints name what is near, and no name can disturb a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromnoise.errors import ArtifactError, DataError, did_you_mean, shown


@pytest.mark.parametrize("error", [DataError, ArtifactError])
def test_errors_are_value_errors_and_different_ones(error):
    assert issubclass(error, ValueError)
    assert not issubclass(DataError, ArtifactError) and not issubclass(ArtifactError, DataError)


def test_did_you_mean_names_the_nearest_and_all_that_exist():
    known = ["euler", "heun", "midpoint", "rk4"]
    listing = " Known: euler, heun, midpoint, rk4."
    assert did_you_mean("midpiont", known) == " Did you mean 'midpoint'?" + listing
    assert did_you_mean("zzzz", known) == listing
    assert did_you_mean("heun1", iter(known)) == " Did you mean 'heun'?" + listing


@given(st.one_of(st.text(), st.binary(), st.integers(), st.lists(st.text(), max_size=4)))
def test_shown_is_one_printable_line_of_at_most_forty_characters(value):
    text = shown(value)
    assert len(text) <= 40 and text.isprintable()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "abc\u202edef", "\ud800", "nul\0"])
def test_shown_escapes_what_a_terminal_would_act_on(name):
    text = shown(name)
    assert "\\" in text and text.isascii()


def test_shown_cuts_at_the_limit_and_says_so():
    assert shown("x" * 100, limit=10) == "'xxxxxxxx…"
    assert shown("x" * 8, limit=10) == "'xxxxxxxx'"
    assert shown("größe") == "'größe'"
