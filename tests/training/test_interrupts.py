r"""Signals: noted once, delivered afterwards, old handlers back, nothing in threads."""

import signal
import threading

import pytest

from fromnoise.training import Interrupts


@pytest.fixture(autouse=True)
def handlers():
    r"""Give each test Python's own handler; a background job may have inherited another."""
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


def test_a_signal_is_noted_and_delivered_only_when_asked():
    with Interrupts() as interrupts:
        assert interrupts.received is None
        signal.raise_signal(signal.SIGINT)
        assert interrupts.received == signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        interrupts.again()


def test_without_a_signal_nothing_is_delivered():
    with Interrupts() as interrupts:
        pass
    interrupts.again()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_acts_at_once():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_old_handlers_come_back_also_after_an_error():
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    mine = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Interrupts():
        assert signal.getsignal(signal.SIGINT) is not mine
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is mine
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
    assert seen == [] and signal.getsignal(signal.SIGINT) is mine
    interrupts.again()
    assert seen == [signal.SIGINT]


def test_sigterm_is_held_back_only_where_somebody_handles_it():
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.received == signal.SIGTERM and seen == []
    interrupts.again()
    assert seen == [signal.SIGTERM]


def test_an_ignored_sigint_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
    assert interrupts.received is None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_thread_installs_nothing():
    seen = []

    def work():
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
