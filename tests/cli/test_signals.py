"""Signals raise, but not in the code that imports modules."""

import os
import signal
import time

import pytest

from transferflow.cli.signals import signals_raise
from transferflow.errors import StopSignal

SENDS = "os.kill(os.getpid(), number)\nfor _ in range(100):\n    pass\ndone.append(number)"
PLACES = ["/somewhere/module.py", "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"]


@pytest.fixture(autouse=True)
def heard():
    """Signals as in a shell's foreground, whatever these tests are run from: `nohup`, a background."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send_within(place, number, done):
    """Send a signal from code of a file, and wait."""
    exec(compile(SENDS, place, "exec"), {"os": os, "number": number, "done": done})
    time.sleep(10)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_once_the_import_system_has_let_go(number, place):
    done = []
    raised = KeyboardInterrupt if number == signal.SIGINT else StopSignal
    with signals_raise(), pytest.raises(raised):
        send_within(place, number, done)
    assert done == ([] if place == PLACES[0] else [number])


def test_a_closed_terminal_is_told_to_whoever_has_taken_sigterm():
    heard = []
    with signals_raise():
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_handlers_are_put_back_and_what_is_ignored_stays_so(number):
    former = signal.signal(number, signal.SIG_IGN)
    terminated = signal.getsignal(signal.SIGTERM)
    with signals_raise():
        assert signal.getsignal(number) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is not terminated
    assert signal.getsignal(signal.SIGTERM) is terminated
    signal.signal(number, former)
