"""A private Prefect server for one command: its own process, bound to the loopback address.

It listens before it has loaded, so that nobody has to poll for it, and it ends when whoever started it
does, even by `kill -9`.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}
_STOP_SECONDS = 10


@contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """Yield the API URL of a server whose database and log are kept in `folder`.

    A damaged database is set aside: it holds what flows did, and nothing that a stage made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _set_damage_aside(folder / "prefect.db")
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "transferflow.pipelines.own_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | _ENVIRONMENT | {"PREFECT_HOME": str(folder)},
            start_new_session=True,  # ctrl-C stops the run, which then still has to tell the server
        )
    with process:
        try:
            yield f"http://127.0.0.1:{_first_line(process)}/api"
        finally:
            _stop(process)


def _set_damage_aside(database: Path) -> None:
    # Here: the server's own process, which loads this module too, is there sooner without them.
    from transferflow.logs import get_logger
    from transferflow.store.databases import damage_of

    logger = get_logger()
    try:
        found = damage_of(database) if database.exists() else ""
    except sqlite3.Error as error:  # in use, or not to be read: the server says what is wrong
        logger.debug("%s is not looked at: %s", database, error)
        return
    if not found:
        return
    logger.warning(
        "the history of flows, %s, is damaged (%s): it is set aside and begun anew", database, found
    )
    for ending in ("", "-wal", "-shm"):
        file = database.with_name(f"{database.name}{ending}")
        if file.exists():
            file.replace(file.with_name(f"{file.name}.broken"))


def _first_line(process: subprocess.Popen[bytes]) -> str:
    return process.stdout.readline().decode().strip() if process.stdout else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the other end is gone
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until the parent ends; the port is the first line of the output."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
    main()
