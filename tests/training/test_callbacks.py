r"""Records, and the bar that turns to log lines where there is no terminal."""

import logging

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


def test_without_a_terminal_every_tenth_is_one_log_line(caplog, capsys):
    with caplog.at_level(logging.INFO, "fromnoise"), ProgressBar("Flow") as bar:
        for k in range(1, 101):
            bar(Record(k, k / 100, 0.1 * k, 2.5, 1e-3))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 10
    assert lines[0] == "Flow:  10 %, step 10, loss 2.5, 1.0 s, 9 s left"
    assert lines[-1] == "Flow: 100 %, step 100, loss 2.5, 10.0 s"
    assert capsys.readouterr().out == ""


def test_what_is_left_is_told_in_minutes_when_it_is_long(caplog):
    with caplog.at_level(logging.INFO, "fromnoise"), ProgressBar("Flow") as bar:
        bar(Record(1, 0.1, 100.0, 2.5, 1e-3))
    assert caplog.messages == ["Flow:  10 %, step 1, loss 2.5, 100.0 s, 15 min left"]
