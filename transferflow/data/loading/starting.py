"""How a process that loads images starts: as a copy of this one, or of one that has nothing to lose."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    from multiprocessing.popen_spawn_posix import Popen

StartMethod = Literal["fork", "forkserver", "spawn"]
_WITHOUT_FORKS = ("win32", "darwin")
"""Windows has none; what macOS brings along does not work in a fork."""
_HARMLESS = ("QueueFeederThread", "filelock-lease-", "transferflow-watch", "transferflow-read")
"""How the names of threads begin that hold nothing which a loader process needs: those that send tasks to
processes of another loader, those that show that the owner of a key lives, and those of `training` that see
whether the parent lives and read what the tracking says."""
_HIDING = threading.Lock()


def decide_start_method(platform: str, threads: Sequence[str], cuda: bool) -> StartMethod:
    """How to start: by a fork, which takes milliseconds and shares all memory, if nothing speaks against it.

    A fork has none of the threads of the process that it is a copy of, but every lock that they held then,
    and it can't use CUDA nor give its memory back. So it hangs once in many times: whoever has threads starts
    such processes from a server that has none (`fork_server`).

    Args:
        platform: `sys.platform`.
        threads: Names of the Python threads beside the one that asks. Those of OpenMP, which PyTorch computes
            with, are no danger: a loader process computes in one.
        cuda: Whether this process uses CUDA or will.
    """
    if platform in _WITHOUT_FORKS:
        return "spawn"
    is_alone = all(name.startswith(_HARMLESS) for name in threads)
    return "fork" if is_alone and not cuda else "forkserver"


def begin_early(cuda: bool) -> None:
    """Let a fork server begin to import, if one would be needed now; `build_context` decides again.

    Args:
        cuda: Whether this process uses CUDA or will.
    """
    if _start_method(cuda) == "forkserver":
        from transferflow.data.loading.fork_server import begin_server  # Windows lacks what it is made of

        begin_server()


def build_context(cuda: bool) -> BaseContext:
    """Build what starts the loader processes of a loader; to be called when they start, and no sooner.

    Args:
        cuda: Whether this process uses CUDA or will.
    """
    method = _start_method(cuda)
    match method:
        case "fork":
            return multiprocessing.get_context("fork")
        case "forkserver":
            from transferflow.data.loading.fork_server import ServerContext

            return ServerContext()
        case "spawn":
            return _HiddenMainContext()
        case _:
            assert_never(method)


def _start_method(cuda: bool) -> StartMethod:
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    return decide_start_method(sys.platform, others, cuda)


class _HiddenMainProcess(SpawnProcess):
    """A new interpreter, which does not import the user's script."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Popen:  # noqa: N802 - multiprocessing's name
        with _hidden_main():
            return SpawnProcess._Popen(process_obj)


class _HiddenMainContext(SpawnContext):
    Process = _HiddenMainProcess


@contextmanager
def _hidden_main() -> Iterator[None]:
    """A block in which multiprocessing finds no script that the new process had to import.

    A script without `if __name__ == "__main__"` would start itself again there; nothing that a loader process
    gets is defined in it.
    """
    with _HIDING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
