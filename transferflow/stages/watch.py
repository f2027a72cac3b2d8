"""What a person sees while a stage works: progress bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger("transferflow")


@contextmanager
def progress_counter(title: str, interactive: bool) -> Iterator[Callable[[int, int], None] | None]:
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
