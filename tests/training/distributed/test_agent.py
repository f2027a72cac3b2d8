"""Which process's end is the reason, and what is said of it; what goes through the exchange."""

import json
import logging
import signal

import pytest
import torch

from transferflow.errors import DataError, Problem, TerminatedRunError
from transferflow.store import BusyError
from transferflow.training.distributed.crashes import Crash, decide_root, describe_end
from transferflow.training.distributed.exchange import Exchange, LineHandler
from transferflow.training.distributed.together import split_buckets

TRACE = "Traceback (most recent call last):\n  File x, line 1, in step\nRuntimeError: Connection closed\n"


@pytest.mark.parametrize(
    ("crashes", "root"),
    [
        ([Crash(0, 1, TRACE), Crash(1, -signal.SIGKILL)], 1),  # the connection broke because of the kill
        ([Crash(0, -signal.SIGTERM), Crash(1, 1, TRACE)], 1),  # the elastic agent ended rank 0
        ([Crash(0, 1), Crash(1, 1, TRACE)], 1),
        ([Crash(0, 1, TRACE, 6), Crash(1, 1, "ZeroDivisionError", 5)], 1),  # both were found at one look
        ([Crash(1, -signal.SIGSEGV), Crash(0, -signal.SIGKILL)], 1),  # rank 0 did not end in time
    ],
)
def test_the_reason_is_what_the_others_came_of(crashes, root):
    assert decide_root(crashes).rank == root


def test_the_end_says_how_and_what_to_do():
    killed = describe_end(Crash(2, -signal.SIGKILL), 3)
    assert "device 2 was ended by SIGKILL again after 3 restarts, and training.max_restarts" in str(killed)
    assert "ran out of memory" in killed.problems[0].hint
    raised = describe_end(Crash(0, 1, TRACE), 0)
    assert "raised RuntimeError: Connection closed, and training.max_restarts" in str(raised)
    assert "line 1, in step" in raised.problems[0].found
    assert "ended with exit code 7" in str(Crash(0, 7))


def test_an_error_comes_back_as_it_was_raised_and_the_first_one_stays(tmp_path):
    exchange = Exchange(tmp_path)
    assert exchange.read_error() is None
    problems = [Problem("bad", "a.png", "x", "y", "do z"), Problem("worse")]
    exchange.tell_error(DataError.from_problems(problems))
    exchange.tell_error(TerminatedRunError("stopped"))
    found = exchange.read_error()
    assert type(found) is DataError
    assert found.problems == tuple(problems)
    exchange.forget_error()
    exchange.tell_error(BusyError("busy"))
    assert exchange.read_error().exit_code == 75


def test_lines_are_handed_on_once_with_their_level(tmp_path, caplog):
    exchange = Exchange(tmp_path)
    exchange.write_job({})
    lines = exchange.lines()
    next(lines)
    handler = LineHandler(exchange)
    with caplog.at_level(logging.INFO):
        handler.emit(logging.LogRecord("transferflow.training", logging.WARNING, "", 0, "%d %%", (5,), None))
        next(lines)
        with (tmp_path / "log.jsonl").open("a") as stream:
            stream.write(json.dumps({"logger": "transferflow", "level": 20, "text": "half"})[:20])
        next(lines)
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("transferflow.training", logging.WARNING, "5 %")
    ]
    assert exchange.take_crash(0) == ("", 0)


def test_who_told_a_crash_first_is_known(tmp_path):
    exchange = Exchange(tmp_path)
    exchange.tell_crash(1, TRACE)
    exchange.tell_crash(0, "late")
    first, late = exchange.take_crash(1), exchange.take_crash(0)
    assert first[0] == TRACE
    assert first[1] < late[1]
    assert exchange.take_crash(1) == ("", 0)


def test_gradients_are_sent_in_runs_of_one_type_that_fit():
    tensors = [torch.zeros(n) for n in (4, 4, 100, 1)] + [torch.zeros(2, dtype=torch.float64)]
    assert [[len(t) for t in bucket] for bucket in split_buckets(tensors, most=40)] == [
        [4, 4],
        [100],
        [1],
        [2],
    ]
