"""Ctrl-C and SIGTERM as a terminal and a scheduler send them: to a whole group of processes."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("stopped_run.py")
SECONDS = 10.0
"""How long a run may take to save and end."""


@pytest.mark.parametrize(
    ("number", "code", "devices"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 2)],
)
def test_a_group_that_is_stopped_in_training(
    tmp_path: Path, colour_folder: Path, number: int, code: int, devices: int
) -> None:
    spec, output = tmp_path / "spec.yaml", tmp_path / "output.txt"
    spec.write_text(
        "name: colours\n"
        "task: {kind: classification}\n"
        f"data: {{format: image_folder, root: {colour_folder}, image_size: 32, cache: null}}\n"
        "backbone: {source: timm, name: test_resnet, weights: none}\n"
        f"training: {{epochs: 100000, batch_size: 12, workers: 2, device: cpu, devices: {devices}}}\n"
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transferflow.stages.run", "torch._dynamo", "timm"])
    arguments = {"ARGUMENTS": (str(spec), str(tmp_path / "home"), str(output))}
    process = context.Process(target=runpy.run_path, args=(str(SCRIPT), arguments, "__alone__"))
    process.start()
    try:
        _wait_for_a_checkpoint(process, tmp_path)
        asked = time.monotonic()
        assert process.pid is not None
        os.killpg(process.pid, number)
        process.join(60)
        assert process.exitcode == code
        assert time.monotonic() - asked < SECONDS
    finally:
        process.kill()
    said = output.read_text()
    assert "error: training was stopped after" in said
    assert "hint:    run the same command again: it goes on from there" in said
    assert "Traceback" not in said


def _wait_for_a_checkpoint(process: BaseProcess, folder: Path) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob("home/work/train/*/epoch-*")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
