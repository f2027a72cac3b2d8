"""A run on a Prefect server that SIGTERM or ctrl-C stops in training."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.sorting import FlowRunSort

from transferflow.cli.main import main

pytestmark = pytest.mark.slow
SPEC = Path("tiny.yaml")


def send_once_it_trains(home, number):
    """From another thread: the signal's handler runs in the main one, whatever it is at."""
    deadline = time.monotonic() + 300
    while not list(home.glob("work/train/*/epoch-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "code", "state"), [(signal.SIGTERM, 143, "Crashed"), (signal.SIGINT, 130, "Interrupted")]
)
def test_it_saves_says_how_to_go_on_and_ends_with_the_signals_code(
    project, client, tmp_path, capsys, number, code, state
):
    if signal.getsignal(number) is signal.SIG_IGN:  # as a shell does for what it starts in the background
        signal.signal(number, signal.default_int_handler)
    home = tmp_path / "home"
    sender = threading.Thread(target=send_once_it_trains, args=(home, number))
    sender.start()
    words = ["run", str(SPEC), "--home", str(home), "--set", "training.epochs=100000"]
    assert main(words) == code
    sender.join()
    said = capsys.readouterr().err
    assert "training was stopped after" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    by_hand = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(is_null_=True))
    (run,) = client.read_flow_runs(flow_run_filter=by_hand, sort=FlowRunSort.START_TIME_DESC, limit=1)
    assert run.state.name == state
