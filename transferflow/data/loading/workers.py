"""Processes that load images: how many, how one starts, and what its death means."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from types import TracebackType
from typing import Literal

from transferflow.errors import DataError

GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal or a scheduler sends to a whole group of processes."""
_MAX_WORKERS = 8
_DIED = "a process that loads images died"
_DEATHS = ("DataLoader worker (pid", "DataLoader timed out")


def decide_workers(asked: int | Literal["auto"], cheap: bool, cpus: int) -> int:
    """Number of loader processes: as asked, none where loading is cheap, else one CPU stays free."""
    if asked != "auto":
        return asked
    return 0 if cheap else min(_MAX_WORKERS, cpus - 1)


def start_worker(number: int) -> None:
    """Set up a loader process; torch calls it there."""
    # ctrl-C reaches every process of the terminal, and whoever stops a group of processes (torch's elastic
    # agent, a scheduler) sends SIGTERM to all of it: the parent alone decides what becomes of it, and needs
    # no worker's death beside it. SIGTERM to the worker alone is how the parent ends one that hangs.
    # It comes first: imports take long enough for a stop to come between.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    _hear_signals()
    # Each worker is one thread; OpenCV would start as many as there are CPUs.
    import cv2

    cv2.setNumThreads(0)
    # What the parent registered for its own threads' end (Prefect does) fails in a fork, which has none of
    # them; the worker would end with an error that torch reports in the middle of whatever runs then.
    getattr(threading, "_threading_atexits", []).clear()
    sys.excepthook = _say_what_failed
    _end_with_parent()


def _say_what_failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error, but not that nobody fetches a batch any more: who did was stopped, and says so."""
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)


def _hear_signals() -> None:
    """Let signals in, which the fork server keeps out; those that have come were sent to the group."""
    for number in signal.sigpending() & set(GROUP_SIGNALS):
        signal.sigwait({number})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)


def _end_with_parent() -> None:
    """End this process as soon as the one that it loads for is gone.

    torch ends it when another process is its parent than at its start. That is too late for one whose parent
    went before, and a fork server stands between them all the time.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if not parent.is_alive():
        os._exit(1)

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def describe_death(error: BaseException) -> DataError | None:
    """The error to show for what torch raises, anywhere, when a loader process has died."""
    if not isinstance(error, RuntimeError) or not str(error).startswith(_DEATHS):
        return None
    return _death(str(error).splitlines()[0].strip())


def describe_lost_server() -> DataError:
    """The error to show when the process is gone that loader processes are forks of."""
    return _death("the process that starts them is gone")


def _death(found: str) -> DataError:
    return DataError(
        _DIED,
        found=found,
        hint="if it was killed, the machine's memory was full: lower training.workers or "
        "training.batch_size, and run the same command again",
    )


def is_death(error: BaseException) -> bool:
    """Whether an error is one of `describe_death`."""
    return isinstance(error, DataError) and error.problems[0].what == _DIED
