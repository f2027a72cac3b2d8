"""A process with one thread and no CUDA, of which loader processes are forks; Linux and its like have it.

It is multiprocessing's fork server, with three differences:

- It is one of our own, so that nobody else's processes are forks of it.
- No signal to the group of processes reaches it: the process that loads decides what becomes of a stop.
- A loader process does not import the user's script, as multiprocessing lets it: a script without
  `if __name__ == "__main__"` would start itself again there. Nothing that it gets is defined in the script.

The server ends with the process that started it and the last loader process.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, forkserver, popen_forkserver, reduction, resource_tracker, spawn, util
from multiprocessing.process import BaseProcess
from pathlib import Path

from transferflow.data.loading.workers import GROUP_SIGNALS, describe_lost_server

_ALWAYS = (__name__, "transferflow.data.loading.dataset", "albumentations")
_IMPORTED_FROM = Path(__file__).parents[3]
_WHERE_MET = ("cv2", "pydicom", "tifffile")
"""Imported where an image of their kind is met; the server imports those that this process has met."""
_LEAKS = "ignore:resource_tracker:UserWarning"
"""Queues leave semaphores behind when this process is killed. multiprocessing removes them, and would say so
beside whatever is said then."""
_MAIN = ("init_main_from_name", "init_main_from_path")
_STARTING = threading.Lock()
_servers: dict[int, forkserver.ForkServer] = {}
"""By the process that started them: a fork of it needs one of its own."""


def begin_server() -> forkserver.ForkServer:
    """The fork server of this process, which runs; who starts it waits for none of its imports.

    The first call starts it, and so does the next one after it died (when memory is full, it may be killed).
    """
    with _STARTING:
        if os.getpid() not in _servers:
            _servers[os.getpid()] = forkserver.ForkServer()
            met = [name for name in _WHERE_MET if name in sys.modules]
            _servers[os.getpid()].set_forkserver_preload([*_ALWAYS, *met])
        server = _servers[os.getpid()]
        with _told(), _deaf():
            server.ensure_running()
        return server


@contextmanager
def _deaf() -> Iterator[None]:
    """A block in which processes start that no signal to the group ends; forks of them let signals in."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        # It would be started within, and let signals in at its end.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _told() -> Iterator[None]:
    """A block in which processes start with what they must know in their environment."""
    words = {
        # Python looks for modules in the current folder first, where a user's `queue.py` may lie.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(_import_path()),
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _LEAKS))),
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _import_path() -> list[str]:
    """Where the server looks for modules: where this process does, or it might be of other code.

    multiprocessing hands that on from Python 3.13.1 on alone. What Python has added by itself, the folder of
    the script and the current one, is left out, as is said above, unless this package is from there.
    """
    prepared = spawn.get_preparation_data("")
    script = getattr(sys.modules["__main__"], "__file__", None)
    added = {Path(prepared["orig_dir"] or os.curdir).resolve()}
    if script is not None:
        added.add(Path(script).resolve().parent)
    added.discard(_IMPORTED_FROM.resolve())
    path = (entry for entry in prepared["sys_path"] if isinstance(entry, str))
    return [entry for entry in path if Path(entry).resolve() not in added]


class _Popen(popen_forkserver.Popen):
    """One start of a process; as multiprocessing does it, with our server and without the script."""

    def __init__(self, process_obj: BaseProcess) -> None:
        self._passed: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        self._passed.append(fd)
        return len(self._passed) - 1

    def _launch(self, process_obj: BaseProcess) -> None:
        prepared = spawn.get_preparation_data(process_obj.name)
        sent = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump({name: value for name, value in prepared.items() if name not in _MAIN}, sent)
            reduction.dump(process_obj, sent)
        finally:
            context.set_spawning_popen(None)
        try:
            self.sentinel, write_end = begin_server().connect_to_new_process(self._passed)
            # By the second write end, which closes when this process ends, the new one hears of that.
            self.finalizer = util.Finalize(self, _close, (os.dup(write_end), self.sentinel))
            with os.fdopen(write_end, "wb") as stream:
                stream.write(sent.getbuffer())
            self.pid = forkserver.read_signed(self.sentinel)
        except (EOFError, ConnectionError):
            raise describe_lost_server() from None


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Process(context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> popen_forkserver.Popen:  # noqa: N802 - multiprocessing's name
        return _Popen(process_obj)


class ServerContext(context.ForkServerContext):
    """Starts processes from our fork server; see the module."""

    Process = _Process
