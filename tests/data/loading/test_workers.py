import os
import signal
import subprocess
import sys

import pytest

from transferflow.cpus import usable_cpus
from transferflow.data.loading.workers import decide_workers


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to CPUs")
def test_cpus_that_the_process_may_not_use_do_not_count():
    granted = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(granted)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, granted)
    assert usable_cpus() == len(granted)


@pytest.mark.parametrize(
    ("asked", "cheap", "cpus", "expected"),
    [
        (3, True, 1, 3),
        (0, False, 8, 0),
        ("auto", True, 8, 0),
        ("auto", False, 1, 0),
        ("auto", False, 2, 1),
        ("auto", False, 64, 8),
    ],
)
def test_decide_workers(asked, cheap, cpus, expected):
    assert decide_workers(asked, cheap, cpus) == expected


ORPHAN = """
import multiprocessing, os, signal, time
from transferflow.data.loading.workers import start_worker
parent = os.getpid()

def work():
    while os.getppid() == parent:
        time.sleep(0.01)
    start_worker(0)
    print("works for nobody", flush=True)

multiprocessing.get_context("fork").Process(target=work).start()
os.kill(parent, signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_worker_whose_parent_is_gone_before_it_starts_ends():
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b""
    assert done.stderr == b""


GROUP = """
import multiprocessing, os, signal, socket, sys, time
from multiprocessing.resource_sharer import DupFd
from transferflow.data.loading.workers import start_worker

def work(told):
    start_worker(0)
    told.send(DupFd(0)._id[0])
    time.sleep(60)

if __name__ == "__main__":
    os.setpgid(0, 0)
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=work, args=(there,), daemon=True)
    worker.start()
    with socket.socket(socket.AF_UNIX) as fetching:
        fetching.connect(here.recv())  # and is stopped
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.killpg(0, signal.SIGTERM)
    time.sleep(0.5)
    print("alive" if worker.is_alive() else "dead")
    os.kill(worker.pid, signal.SIGTERM)
    worker.join(10)
    print(worker.exitcode)
"""


def test_a_stop_of_the_whole_group_leaves_the_worker_to_its_parent():
    done = subprocess.run(
        [sys.executable, "-c", GROUP], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["alive", "-15"]
    assert done.stderr == ""
