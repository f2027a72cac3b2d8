"""The server that loader processes are forks of: what it imports, and how it starts."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from transferflow.data.loading import fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system starts processes otherwise")


@pytest.fixture
def bare_server(monkeypatch):
    """A server of the test's own, which imports nothing."""
    monkeypatch.setattr(fork_server, "_servers", {})
    monkeypatch.setattr(fork_server, "_ALWAYS", ())
    monkeypatch.setattr(fork_server, "_WHERE_MET", ())
    yield
    for server in fork_server._servers.values():
        server._stop()


@pytest.mark.usefixtures("bare_server")
def test_a_server_that_died_starts_again_as_the_first_time():
    first = fork_server.begin_server()._forkserver_pid
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    second = fork_server.begin_server()._forkserver_pid
    assert second != first
    assert fork_server.begin_server()._forkserver_pid == second
    told, until = b"PYTHONSAFEPATH=1", time.monotonic() + 10
    while told not in Path(f"/proc/{second}/environ").read_bytes().split(b"\0"):
        assert time.monotonic() < until  # it may be about to become Python
    (blocked,) = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{second}/status").read_text())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert int(blocked, 16) >> (number - 1) & 1


@pytest.mark.usefixtures("bare_server")
def test_a_server_that_starts_as_a_stop_comes_is_known(monkeypatch):
    @contextmanager
    def stopped():
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr(fork_server, "_deaf", stopped)
    with pytest.raises(KeyboardInterrupt):
        fork_server.begin_server()
    (server,) = fork_server._servers.values()
    assert server._forkserver_pid is not None


PRELOADED = """
import sys
sys.path.insert(0, {folder!r})
from transferflow.data.loading import fork_server
fork_server._ALWAYS = ("transferflow.errors",)
code = "import sys; print(sys.modules['transferflow'].__file__, flush=True)"
process = fork_server.ServerContext().Process(target=exec, args=(code,))
process.start()
process.join()
"""


def test_the_server_is_of_the_code_of_the_process(tmp_path):
    """Here that of another folder than the one that is installed."""
    package = Path(fork_server.__file__).parents[2]
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "transferflow").symlink_to(package)
    script = tmp_path / "script.py"
    script.write_text(PRELOADED.format(folder=str(tmp_path / "checkout")))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", f"{tmp_path / 'checkout' / 'transferflow' / '__init__.py'}\n")


@pytest.mark.parametrize("is_checkout", [False, True])
def test_the_folder_of_a_script_is_no_place_for_modules(tmp_path, monkeypatch, is_checkout):
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", Path("none"), str(tmp_path / "theirs")])
    monkeypatch.setattr(fork_server, "_IMPORTED_FROM", tmp_path if is_checkout else tmp_path / "theirs")
    expected = [str(tmp_path)] * is_checkout + [str(tmp_path / "theirs")]
    assert fork_server._import_path() == expected
