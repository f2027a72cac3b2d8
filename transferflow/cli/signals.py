"""Ctrl-C and SIGTERM as exceptions, raised nowhere that they would be lost or leave a lock taken."""

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


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM raise within the block, as ctrl-C does, so that what is under way is left in order.

    The code that imports modules is let alone: an exception between taking and guarding its lock leaves the
    lock taken for ever, which hangs other threads, and one in its callbacks is swallowed. Some in a thousand
    signals that come while torch and Prefect are imported meet it there; they come again a moment later.
    A ctrl-C that somebody ignores stays ignored, as in a shell's background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise StopSignal(number)
