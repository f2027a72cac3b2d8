"""The address that `serve` prints is the one it listens at."""

import re
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from transferflow.cli.serve import _run_server
from transferflow.errors import StoreError


def test_port_0_tells_the_port_that_it_got(monkeypatch, capsys):
    servers = []

    class Watched(uvicorn.Server):
        def __init__(self, config):
            super().__init__(config)
            servers.append(self)

    monkeypatch.setattr(uvicorn, "Server", Watched)
    thread = threading.Thread(
        target=_run_server, args=(FastAPI(), "127.0.0.1", 0, "models:/m/1"), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + 20
    while not (servers and servers[0].started) and time.monotonic() < deadline:
        time.sleep(0.02)
    said = re.search(r"models:/m/1: (http://127\.0\.0\.1:(\d+)/)", capsys.readouterr().err)
    assert int(said[2]) > 0
    assert httpx.get(f"{said[1]}openapi.json").status_code == 200
    servers[0].should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def test_a_port_that_is_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StoreError, match="could not be started"):
            _run_server(FastAPI(), "127.0.0.1", taken.getsockname()[1], "m")


def test_who_asks_as_soon_as_the_address_is_told_is_not_turned_away(monkeypatch):
    """A supervisor that reads the line connects at once: before the application has started."""
    asked = []

    def ask(line):
        port = int(re.search(r":(\d+)/", str(line))[1])
        asked.append(socket.create_connection(("127.0.0.1", port), timeout=5))

    class Told:
        print = staticmethod(ask)

    monkeypatch.setattr("transferflow.cli.serve.errors", Told)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: [one.close() for one in sockets])
    _run_server(FastAPI(), "127.0.0.1", 0, "m")
    assert len(asked) == 1
    asked[0].close()
