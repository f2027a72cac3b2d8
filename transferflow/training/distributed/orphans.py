"""A process that ends with the one that started it, however that ends: nothing is left running."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable

_POLL_SECONDS = 0.2


def end_with_parent(
    also: Callable[[], bool] = lambda: False, last: Callable[[], object] = lambda: None
) -> None:
    """From now on, end this process as soon as its parent is gone.

    Args:
        also: Another reason to end.
        last: What to do before.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and not also():
            time.sleep(_POLL_SECONDS)
        last()
        end_at_once()

    # By its name, `data.loading.starting` knows that it holds no lock.
    threading.Thread(target=watch, name="transferflow-watch", daemon=True).start()


def end_at_once() -> None:
    """End this process and those that load images for it, whatever they wait for."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(1)
