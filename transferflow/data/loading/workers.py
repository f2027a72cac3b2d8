"""Processes that load images: how many, how one starts, and what its death means."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Literal

from transferflow.errors import DataError

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
    # Each worker is one thread; OpenCV would start as many as there are CPUs.
    import cv2

    cv2.setNumThreads(0)
    # What the parent registered for its own threads' end (Prefect does) fails in a fork, which has none of
    # them; the worker would end with an error that torch reports in the middle of whatever runs then.
    getattr(threading, "_threading_atexits", []).clear()
    # torch ends a worker whose parent is gone; one whose parent went before the worker looked would stay.
    if _is_orphaned():
        os._exit(1)


def _is_orphaned() -> bool:
    """Whether the process that loads for its parent has none any more."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid == os.getppid():
        return False
    # A fork has another parent only once its own is gone; a fork server stands between them all the time.
    return multiprocessing.get_start_method() == "fork" or not parent.is_alive()


def describe_death(error: BaseException) -> DataError | None:
    """The error to show for what torch raises, anywhere, when a loader process has died."""
    if not isinstance(error, RuntimeError) or not str(error).startswith(_DEATHS):
        return None
    return DataError(
        _DIED,
        found=str(error).splitlines()[0].strip(),
        hint="if it was killed, the machine's memory was full: lower training.workers or "
        "training.batch_size, and run the same command again",
    )


def is_death(error: BaseException) -> bool:
    """Whether an error is one of `describe_death`."""
    return isinstance(error, DataError) and error.problems[0].what == _DIED
