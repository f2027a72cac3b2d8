"""SIGTERM and ctrl-C: the loop stops at once, at a place that it can go on from."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from transferflow.errors import StopSignal

Handler = Callable[[int, FrameType | None], object] | int | None
_STOPS = (signal.SIGINT, signal.SIGTERM)
_MOMENT_SECONDS = 0.5
_CHILD = getattr(signal, "SIGCHLD", None)  # Windows has none


class StopSignals:
    """While it is entered, a signal that ends the process cuts in nowhere but where it may.

    Whoever runs the loop decides what a signal raises (Python, the command, Prefect); this only makes it
    wait where a step or a checkpoint would be left half done. SIGTERM, which nobody may have taken, raises
    `StopSignal` then. Outside of the main thread, where Python hears of no signal, it changes nothing.
    """

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._child_ended = self._closed = False
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        if _hears() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._before = install({signal.SIGTERM: _stop})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        install(self._before)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the end of this block, which must be short.

        So does the end of a loader process, at which torch raises: it may have got the same signal.
        """
        if self._closed:  # they wait for good: to send them again would never end
            yield
            return
        before = install(self._deaf()) if _hears() else {}
        try:
            yield
        finally:
            install(before)
        while self._waiting:
            signal.raise_signal(self._waiting.pop())
        if self._child_ended and _CHILD is not None:
            self._child_ended = False
            signal.raise_signal(_CHILD)

    def close(self) -> list[int]:
        """Interrupt nothing from here on, as what is under way is saving; return what has come, as it comes.

        The end of the loader's processes, which may have got the same signal, interrupts nothing either.
        """
        if _hears():
            self._before = install(self._deaf()) | self._before
        self._closed = True
        return self._waiting

    def give_a_moment(self) -> None:
        """Wait shortly for a stop: one that is sent to a group may reach a loader's process first."""
        until = time.monotonic() + _MOMENT_SECONDS
        while _hears() and not self._waiting and time.monotonic() < until:
            time.sleep(_MOMENT_SECONDS / 50)

    def _deaf(self) -> dict[int, Handler]:
        deaf: dict[int, Handler] = dict.fromkeys(_STOPS, self._wait)
        return deaf if _CHILD is None else {**deaf, _CHILD: self._note_child}

    def _wait(self, number: int, frame: FrameType | None) -> None:
        self._waiting.append(number)

    def _note_child(self, number: int, frame: FrameType | None) -> None:
        self._child_ended = True


def stop_behind(error: BaseException) -> BaseException | None:
    """What ends the process, whoever's handler raised it, if an error came of that.

    A signal to a group of processes ends the loader's processes too, and their death, which is heard a
    moment later, raises while the stop is on its way out.
    """
    found: BaseException | None = error
    while isinstance(found, Exception | GeneratorExit):
        found = found.__context__
    return found


def _hears() -> bool:
    return threading.current_thread() is threading.main_thread()


def install(handlers: dict[int, Handler]) -> dict[int, Handler]:
    """Install handlers; return those that were there."""
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}


def _stop(number: int, frame: FrameType | None) -> None:
    raise StopSignal(number)
