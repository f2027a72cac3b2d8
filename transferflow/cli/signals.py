"""Ctrl-C, SIGTERM and SIGHUP as exceptions, raised nowhere that they would be lost or leave a lock taken."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transferflow.errors import StopSignal

_IMPORT_SYSTEM = "<frozen importlib"
_AGAIN_SECONDS = 0.02
_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM raise within the block, as ctrl-C does, so that what is under way is left in order.

    The code that imports modules is let alone: an exception between taking and guarding its lock leaves the
    lock taken for ever, which hangs other threads, and one in its callbacks is swallowed. Some in a thousand
    signals that come while torch and Prefect are imported meet it there; they come again a moment later.
    A terminal that is closed (SIGHUP) asks for the same as SIGTERM, and is passed on as that: so whoever has
    taken SIGTERM meanwhile, as Prefect does, hears of it too. What somebody ignores stays ignored: ctrl-C in
    a shell's background, SIGHUP under `nohup`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _stop)
    if _HANGUP is not None and signal.getsignal(_HANGUP) == signal.SIG_DFL:
        before[_HANGUP] = signal.signal(_HANGUP, _pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        _come_again(number)
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise StopSignal(number)


def _pass_on(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        _come_again(number)
    else:
        signal.raise_signal(signal.SIGTERM)


def _is_importing(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(_IMPORT_SYSTEM)


def _come_again(number: int) -> None:
    again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
