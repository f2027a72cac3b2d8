"""What watching costs the training's thread while the MLflow server is away, and whether a point is lost.

    python benchmarks/tracking.py --away 60

A short training without tracking, and one that is watched on a real server, which is stopped (SIGSTOP: it
takes connections and answers none) for a time in its middle. Printed: the share of the training's own thread
that the hook takes (all of it, file and all), the median step without tracking, watched, and watched while
the server is away, with their ratios, and what of the points that were told has arrived, once each.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.models.layers import Block, LayerGroup
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.train import tracking
from transferflow.training.job import (
    FreezePhase,
    FreezeSchedule,
    GroupRate,
    LoopSettings,
    OptimizerSettings,
    TrainJob,
)
from transferflow.training.tracking.hook import TrackingHook
from transferflow.training.tracking.spool import Spool

STEPS, BATCH, SIDE, KEY = 50, 16, 64, "a" * 64


class Loader:
    """The same random images in each epoch."""

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        batch = Batch(torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) % 10, tuple("x" * BATCH))
        for _ in range(first, STEPS):
            yield batch


class Course:
    """Stops the server for a time, and notes how long each step took."""

    def __init__(self, server: subprocess.Popen[bytes] | None, away: float, calm: float) -> None:
        self.server, self.away, self.calm = server, away, calm
        self.present: list[float] = []
        self.absent: list[float] = []
        self.is_away = False

    def on_start(self, epochs: int, steps: int, first_epoch: int) -> None:
        self.began = self.last = time.perf_counter()

    def on_step(self, epoch: int, step: int, loss: float, lr: float) -> None:
        now = time.perf_counter()
        (self.absent if self.is_away else self.present).append(now - self.last)
        should = self.calm < now - self.began < self.calm + self.away
        if self.server is not None and should != self.is_away:
            os.killpg(self.server.pid, signal.SIGSTOP if should else signal.SIGCONT)
            self.is_away = should
        self.last = time.perf_counter()

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self.last = time.perf_counter()

    def on_end(self) -> None: ...


def build_job(folder: Path, epochs: int, course: Course) -> TrainJob:
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
    )
    model.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(32, 10))
    names = tuple(name for name, _ in model.named_parameters())
    return TrainJob(
        model=model,
        groups=(LayerGroup("all", "head", (Block("all", names),), ("",)),),
        rates=(GroupRate("all", "all", 1e-3, 0.0, names, ()),),
        freeze=FreezeSchedule((FreezePhase(0, frozenset()),), "train"),
        train_loader=Loader(),
        losses=lambda model, batch: {"loss": nn.functional.cross_entropy(model(batch.images), batch.targets)},
        validate=lambda model: {"accuracy": 0.5},
        optimizer=OptimizerSettings("adamw"),
        settings=LoopSettings(epochs, 0, "fp32", "cpu", "accuracy", False, None, None, None),
        folder=folder,
        hooks=(course,),
    )


def timed_hook(spent: list[float]) -> type[TrackingHook]:
    """A hook that notes the time that it takes of the training's thread."""

    class Timed(TrackingHook):
        def on_step(self, epoch: int, step: int, loss: float, lr: float) -> None:
            before = time.perf_counter()
            super().on_step(epoch, step, loss, lr)
            spent.append(time.perf_counter() - before)

        def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
            before = time.perf_counter()
            super().on_epoch(epoch, values)
            spent.append(time.perf_counter() - before)

    return Timed


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "served")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=os.environ | quiet, cwd=folder, start_new_session=True, **pipes)
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1)
        except OSError:
            time.sleep(0.3)
        else:
            return server, url


def arrived(url: str, names: set[str]) -> Counter[tuple[str, int]]:
    from mlflow import MlflowClient

    client = MlflowClient(url)
    experiment = client.get_experiment_by_name("watched").experiment_id
    [run] = client.search_runs([experiment])
    return Counter(
        (name, found.step) for name in names for found in client.get_metric_history(run.info.run_id, name)
    )


def train(folder: Path, epochs: int, course: Course, url: str | None, spent: list[float]) -> None:
    spec = ExperimentSpec.model_validate(
        {
            "name": "watched",
            "task": {"kind": "classification"},
            "data": {"format": "image_folder", "root": "."},
            "backbone": {"source": "timm", "name": "resnet18"},
            "tracking": {"mlflow": url is not None},
        }
    )
    tracking.TrackingHook = timed_hook(spent)
    tracking.PATIENCE_SECONDS = 0.0
    job = build_job(folder / f"work-{url is not None}", epochs, course)
    tracking.train_watched(job, spec, RunContext(folder / "home", url), KEY)


def measure(folder: Path, epochs: int, away: float, calm: float) -> dict[str, Any]:
    server, url = start_server(folder)
    try:
        alone, watched, spent = Course(None, away, calm), Course(server, away, calm), []
        train(folder, max(1, epochs // 4), alone, None, [])
        began = time.perf_counter()
        train(folder, epochs, watched, url, spent)
        seconds = time.perf_counter() - began
        points = Spool(RunContext(folder / "home").points(KEY)).read(0)[0]
        told = Counter((f"{point.family}/{name}", point.step) for point in points for name in point.values)
        found = arrived(url, {name for name, _ in told})
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    medians = [statistics.median(steps) for steps in (alone.present, watched.present, watched.absent)]
    return {
        "steps": len(alone.present),
        "steps_while_away": len(watched.absent),
        "hook_share": sum(spent) / seconds,
        "hook_microseconds": 1e6 * statistics.median(spent),
        "hook_longest_ms": 1e3 * max(spent),
        "step_ms": {"alone": 1e3 * medians[0], "watched": 1e3 * medians[1], "away": 1e3 * medians[2]},
        "ratio_watched": medians[1] / medians[0],
        "ratio_away": medians[2] / medians[1],
        "figures_told": sum(told.values()),
        "missing": sum((told - found).values()),
        "double": sum((found - told).values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away", type=float, default=60.0, help="seconds")
    parser.add_argument("--calm", type=float, default=20.0, help="seconds before that")
    parser.add_argument("--epochs", type=int, default=30, help="of the watched one: more than it is away")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.epochs, options.away, options.calm)
    sys.stdout.write(json.dumps({**vars(options), **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
