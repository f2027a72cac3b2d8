import os
import signal
import subprocess
import sys
import time

import pytest
from transferflow.pipelines.slots import busy_places, list_gpus, parse_gpus, taking_gpus

from transferflow.errors import FlowError

TWO = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)
"""
SPLIT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-1)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc-3)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd-4)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-2)
"""
HOLDS = """
import sys, time
from transferflow.pipelines.slots import taking_gpus
with taking_gpus(1) as gpus:
    print(",".join(gpus), flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without GPUs, or with those that `visible` names."""
    monkeypatch.setenv("TRANSFERFLOW_SLOTS", str(tmp_path / "slots"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{TWO}END\n")
    tool.chmod(0o755)


def hold(seconds="60"):
    command = [sys.executable, "-c", HOLDS, seconds]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.parametrize(
    ("listing", "uuids"),
    [
        ("", ()),
        (TWO, ("GPU-aaaa-1", "GPU-bbbb-2")),
        (SPLIT, ("MIG-cccc-3", "MIG-dddd-4", "GPU-bbbb-2")),
        ("No devices found.", ()),
    ],
)
def test_gpus_are_known_by_their_uuids(listing, uuids):
    assert parse_gpus(listing) == uuids


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [("1", ("GPU-bbbb-2",)), ("", ()), ("-1", ()), ("MIG-x,0", ("MIG-x", "GPU-aaaa-1")), ("7", ("7",))],
)
def test_what_is_hidden_from_this_process_is_not_taken(two_gpus, monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list_gpus() == gpus


def test_each_gpu_belongs_to_one_run(two_gpus):
    other = hold()
    theirs = other.stdout.readline().strip()
    assert busy_places() == {"GPU-aaaa-1": True, "GPU-bbbb-2": False}
    with taking_gpus(1) as ours:
        assert sorted((theirs, *ours)) == ["GPU-aaaa-1", "GPU-bbbb-2"]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ours[0]
    other.kill()
    other.wait()
    assert not any(busy_places().values())
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with taking_gpus(2) as both:
        assert len(both) == 2
    with taking_gpus(0) as none:
        assert (none, os.environ["CUDA_VISIBLE_DEVICES"]) == ((), "")
    with pytest.raises(FlowError, match=r"deployment\.gpus: the run asks for more GPUs(?s:.*)at most 2"):
        taking_gpus(3).__enter__()


def test_a_machine_without_gpus_has_one_place():
    with taking_gpus(2) as none:
        assert (none, busy_places()) == ((), {"cpu": True})


@pytest.mark.slow
def test_a_killed_run_frees_its_gpu_and_no_two_hold_one(two_gpus):
    runs = [hold() for _ in range(2)]
    held = {run.stdout.readline().strip() for run in runs}
    assert held == {"GPU-aaaa-1", "GPU-bbbb-2"}
    waiting = hold("0")
    time.sleep(0.5)
    assert waiting.poll() is None
    runs[0].send_signal(signal.SIGKILL)
    assert waiting.stdout.readline().strip() in held
    assert waiting.wait(30) == 0
    runs[1].kill()
    for run in runs:
        run.wait()
