"""A training on one device in a process of its own: started again after a crash, stopped by a signal."""

import json
import signal
import subprocess
import sys
import time

import pytest

from transferflow.errors import DataError, TerminatedRunError
from transferflow.training.distributed.agent import run_attempts
from transferflow.training.distributed.exchange import Exchange
from transferflow.training.distributed.launch import AGENT

RANK = """\
import os, signal, sys, time
from pathlib import Path
from transferflow.errors import DataError, TerminatedRunError
from transferflow.training.distributed.exchange import Exchange
exchange = Exchange(Path(sys.argv[-1]))
starts = len(list(exchange.folder.glob("start-*")))
(exchange.folder / f"start-{starts}").write_text(os.environ["RANK"] + os.environ["WORLD_SIZE"])
def leave(error):
    exchange.tell_error(error)
    os._exit(1)
"""
DIES = "os.kill(os.getpid(), signal.SIGKILL)"
DIES_ONCE = f"if not starts: {DIES}"
FORESEEN = "leave(DataError('no image'))"
STOPPED_ONCE = "if not starts: leave(TerminatedRunError('stopped'))"
WAITS = """
signal.signal(signal.SIGTERM, lambda *_: leave(TerminatedRunError("saved")))
(exchange.folder / "waits").touch()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("does", "starts", "error"),
    [
        ("", 1, None),
        (DIES_ONCE, 2, None),
        (STOPPED_ONCE, 2, None),
        (FORESEEN, 1, DataError),
        (DIES, 3, "ended by SIGKILL again after 2 restarts, and training.max_restarts"),
    ],
)
def test_a_crash_starts_it_again_and_what_was_foreseen_does_not(tmp_path, does, starts, error):
    exchange = Exchange(tmp_path)
    assert run_attempts(exchange, 1, 2, ["-c", RANK + does]) is (error is None)
    assert [file.read_text() for file in tmp_path.glob("start-*")] == ["01"] * starts
    told = exchange.read_error()
    assert str(error) in str(told) if isinstance(error, str) else told is None or type(told) is error
    log = tmp_path / "log.jsonl"
    lines = [json.loads(line)["text"] for line in log.read_text().splitlines()] if log.exists() else []
    assert len(lines) == starts - 1
    assert all("training goes on from the last checkpoint: restart" in line for line in lines)


def test_a_signal_reaches_it_and_is_the_end(tmp_path):
    words = [sys.executable, "-m", AGENT, str(tmp_path), "1", "3", "-c", RANK + WAITS]
    with subprocess.Popen(words) as agent:
        while not (tmp_path / "waits").exists():
            assert agent.poll() is None
            time.sleep(0.05)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 1
    assert type(Exchange(tmp_path).read_error()) is TerminatedRunError
    assert len(list(tmp_path.glob("start-*"))) == 1
