r"""Budgets: what is read, what is refused, and progress on a clock that tests can move."""

from types import SimpleNamespace

import pytest

from fromnoise.training import Budget, Clock
from fromnoise.training import budget as module


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90s", 90, "seconds"),
        ("0.5s", 0.5, "seconds"),
        ("10m", 600, "seconds"),
        ("1.5m", 90, "seconds"),
        ("2h", 7200, "seconds"),
        (" 2 h ", 7200, "seconds"),
        ("1 step", 1, "steps"),
        ("2000 steps", 2000, "steps"),
        ("2000steps", 2000, "steps"),
        ("1 epoch", 1, "epochs"),
        ("20 epochs", 20, "epochs"),
    ],
)
def test_what_is_read(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


def test_auto_is_left_to_the_caller():
    assert Budget.parse("auto") is None


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "0s", "0.0 s", "0 steps", "-1s", "+1s", "1e3s", "1,5m", ".5s", "1.s", "90 sec",
     "10 min", "2 d", "1h30m", "nan s", "inf s", "AUTO", "20 Epochs", "5s;", "9" * 400 + "s",
     "9" * 400 + " steps", 90, 9.5, None, True, ["90s"], b"90s"],
)  # fmt: skip
def test_what_is_refused_with_the_forms_that_are_not(text):
    with pytest.raises(ValueError, match=r'"90s", "10m", "2h", "2000 steps" or "20 epochs", got'):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["1.5 steps", "0.5 epochs"])
def test_steps_and_epochs_are_whole(text):
    with pytest.raises(ValueError, match="whole number"):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("budget", "n", "size", "steps"),
    [
        (Budget(7, "steps"), 1000, 10, 7),
        (Budget(1, "epochs"), 1000, 100, 10),
        (Budget(3, "epochs"), 10, 4, 8),
        (Budget(1, "epochs"), 10, 4, 3),
        (Budget(1, "epochs"), 3, 3, 1),
        (Budget(60.0, "seconds"), 10, 4, None),
    ],
)
def test_steps_of_a_budget(budget, n, size, steps):
    assert budget.steps(n, size) == steps


@pytest.fixture
def clock_at(monkeypatch):
    r"""Move the monotonic clock by hand; the wall clock may not be asked."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def move(seconds):
        now[0] = 100.0 + seconds

    return move


def test_progress_in_steps_is_steps_done():
    clock = Clock(Budget(8, "steps"), 8)
    clock.start()
    assert [clock.progress(k) for k in (0, 2, 8)] == [0, 0.25, 1]
    assert [clock.over(k) for k in (0, 7, 8, 9)] == [False, False, True, True]
    assert not clock.over(7, reserve=1e9)  # steps are steps, however long they take


def test_progress_in_seconds_counts_from_the_first_step(clock_at):
    clock = Clock(Budget(10, "seconds"), None)
    clock_at(2)
    clock.start()
    assert clock.progress(0) == 0
    clock_at(4)
    assert clock.elapsed() == 4 and clock.progress(1) == pytest.approx(0.25)
    clock_at(10)
    assert clock.progress(1) == 1
    clock_at(30)
    assert clock.progress(1) == 1
    clock_at(1)  # cannot happen on this clock, and must not give a negative share
    assert clock.progress(1) == 0


def test_over_in_seconds_counts_from_the_birth_and_keeps_a_reserve(clock_at):
    clock = Clock(Budget(10, "seconds"), None)
    clock_at(2)
    clock.start()
    clock_at(9)
    assert not clock.over(10**9) and not clock.over(0, reserve=0.9) and clock.over(0, reserve=1)
    clock_at(10)
    assert clock.over(0)


def test_a_first_step_after_the_end_is_no_division_by_zero(clock_at):
    clock = Clock(Budget(1, "seconds"), None)
    clock_at(5)
    clock.start()
    assert clock.progress(0) == 0 and clock.over(0)
