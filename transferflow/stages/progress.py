"""What a person sees while a stage works: progress bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from transferflow.logs import get_logger

logger = get_logger()


def is_watched() -> bool:
    """Whether a person looks at what goes to stderr, and did not ask for quiet."""
    return sys.stderr.isatty() and logger.level <= logging.INFO


@contextmanager
def file_bar(title: str, interactive: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a `(done, total)` callback that moves a progress bar; `None` where nobody watches."""
    if not interactive:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield move


@contextmanager
def download_bar(title: str, interactive: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """Yield a `(bytes so far, bytes in all)` callback that moves a bar; `None` where nobody watches.

    It is shown from the first byte on, on stderr: stdout is for results.
    """
    if not interactive:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, visible=False)

        def move(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield move
