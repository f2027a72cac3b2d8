"""Ctrl-C and SIGTERM as a terminal and a scheduler send them: to a whole group of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SECONDS = 10.0
"""How long a run may take to save and end."""


def _run(spec: Path, output: Path) -> None:
    os.setsid()  # a group of its own, as a job in a shell has
    stream = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from transferflow.cli.main import main

    sys.exit(main(["run", str(spec), "--no-prefect"]))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_group_that_is_stopped_in_training(
    tmp_path: Path, colour_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    monkeypatch.setenv("TRANSFERFLOW_HOME", str(tmp_path / "home"))
    spec, output = tmp_path / "spec.yaml", tmp_path / "output.txt"
    spec.write_text(
        "name: colours\n"
        "task: {kind: classification}\n"
        f"data: {{format: image_folder, root: {colour_folder}, image_size: 32, cache: null}}\n"
        "backbone: {source: timm, name: test_resnet, weights: none}\n"
        "training: {epochs: 100000, batch_size: 12, workers: 2, device: cpu}\n"
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transferflow.stages.run", "torch._dynamo", "timm"])
    process = context.Process(target=_run, args=(spec, output))
    process.start()
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("home/work/train/*/epoch-*")):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    asked = time.monotonic()
    assert process.pid is not None
    os.killpg(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    assert time.monotonic() - asked < SECONDS
    said = output.read_text()
    assert "error: training was stopped after" in said
    assert "hint:    run the same command again: it goes on from there" in said
    assert "Traceback" not in said
