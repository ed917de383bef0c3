r"""Records, and the bar that turns to log lines where there is no terminal."""

import logging
from itertools import pairwise

import pytest

from fromnoise.training import ProgressBar, Record


def test_a_record_is_a_plain_dictionary():
    line = Record(3, 0.5, 1.5, 2.0, 1e-3)
    assert line.to_dict() == {
        "step": 3,
        "progress": 0.5,
        "seconds": 1.5,
        "loss": 2.0,
        "learning_rate": 1e-3,
        "validation": None,
    }


def told(caplog, seconds):
    r"""Return the log of a fit whose hundred records come every so many seconds."""
    with caplog.at_level(logging.INFO, "fromnoise"), ProgressBar("Flow") as bar:
        for k in range(1, 101):
            bar(Record(k, k / 100, seconds * k, 2.5, 1e-3))
    return caplog.messages


def test_without_a_terminal_every_tenth_is_one_log_line(caplog, capsys):
    lines = told(caplog, 0.5)
    assert len(lines) == 10
    assert lines[0] == "Flow:  10 %, step 10, loss 2.5, 5.0 s, 45 s left"
    assert lines[-1] == "Flow: 100 %, step 100, loss 2.5, 50.0 s"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(0.04, []), (0.2, [25, 50, 75, 100]), (20.0, [])],
    ids=["short", "quick", "slow"],
)
def test_lines_of_a_log_are_neither_closer_than_five_seconds_nor_far_apart(caplog, seconds, steps):
    found = [int(line.partition("step ")[2].partition(",")[0]) for line in told(caplog, seconds)]
    if seconds < 20:
        assert found == list(steps)
    else:  # every minute, and at every tenth
        assert max(b - a for a, b in pairwise([0, *found])) == 3
        assert {10, 20, 50, 100} <= set(found)


def test_what_is_left_is_told_in_minutes_when_it_is_long(caplog):
    with caplog.at_level(logging.INFO, "fromnoise"), ProgressBar("Flow") as bar:
        bar(Record(1, 0.1, 100.0, 2.5, 1e-3))
    assert caplog.messages == ["Flow:  10 %, step 1, loss 2.5, 100.0 s, 15 min left"]
