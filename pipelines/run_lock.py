"""The sign of life of a run: the process that executes a deployment's run holds a lock in its home.

The kernel frees it when the process ends, by `kill -9` too; hosts that share the home see the owner's record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from prefect import runtime

from transferflow.store.locks import KeyLock

from .own_run import own_deployment_id

_STAGE = "run"


def run_lock(home: Path, run_id: UUID | str) -> KeyLock:
    """The lock of a run."""
    return KeyLock(home, _STAGE, str(run_id))


def has_run_here(home: Path, run_id: UUID | str) -> bool:
    """Whether a process with this home has ever executed the run."""
    return (home / "locks" / _STAGE / f"{run_id}.lock").exists()


@contextmanager
def alive(home: Path) -> Iterator[None]:
    """Hold the lock of the deployment's run that this process executes; nothing for any other run.

    A second engine of the same run, started because one death was reported twice, waits for the first.
    """
    run_id: str | None = runtime.flow_run.id
    if run_id is None or own_deployment_id() is None:
        yield
        return
    with run_lock(home, run_id).hold():
        yield
