"""What a step of full fine-tuning costs beside the model: our loop, and our loop with real images.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --steps 8 --rounds 5 --size 224 --batch 32 --json overhead.json

EfficientNet-Lite0, all of it training, in one precision, layout and optimizer. `bare` is forward, backward
and a fused AdamW on one batch that lies in memory. `loop` is our loop on that very batch: what it takes more
is the framework's. `images` is the stage as a user runs it, with JPEGs of that size that were decoded before.
Rounds of so many steps are interleaved; the medians of the time of a step count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from cache import build_spec, describe_hardware, draw

from transferflow.data.loading.batch import Batch
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train.settings import loop_settings, optimizer_settings
from transferflow.stages.train.stage import train
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts
from transferflow.training.job import TrainJob
from transferflow.training.loop.run import train as train_loop
from transferflow.training.optimizer import build_optimizer

CLASSES = ("red", "green", "blue", "yellow")


class SameBatch:
    """An epoch of one batch again and again; notes when each step begins and the last ends."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps = batch, steps
        self.seconds = 0.0

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        started = time.perf_counter()
        for _ in range(first, self.steps):
            yield self.batch
        self.seconds = time.perf_counter() - started


def full(root: Path, size: int, batch: int) -> ExperimentSpec:
    """The spec: everything trains."""
    spec = build_spec("frozen", root, size, 1, cached=False)
    changed = {
        "freeze": {"policy": "none"},
        "training": {"epochs": 1, "batch_size": batch, "precision": "fp32"},
    }
    return ExperimentSpec.model_validate(spec.model_dump(exclude_unset=True) | changed)


def bare_way(spec: ExperimentSpec, batch: Batch, steps: int) -> Callable[[], float]:
    """Seconds of a step of a bare loop."""
    parts = build_parts(spec, CLASSES, pretrained=True)
    plan = compile_training_plan(spec, parts)
    model = parts.model.to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(model, plan.rates, optimizer_settings(spec))
    images = batch.images.to(memory_format=torch.channels_last)

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(images), batch.targets).backward()
            optimizer.step()
        return (time.perf_counter() - started) / steps

    return run


def loop_way(spec: ExperimentSpec, batch: Batch, steps: int) -> Callable[[], float]:
    """Seconds of a step of our loop on a batch that is there."""
    parts = build_parts(spec, CLASSES, pretrained=True)
    plan = compile_training_plan(spec, parts)

    def run() -> float:
        loader = SameBatch(batch, steps)
        with tempfile.TemporaryDirectory() as folder:
            job = TrainJob(
                model=parts.model,
                groups=parts.groups,
                rates=plan.rates,
                freeze=plan.freeze,
                train_loader=loader,
                losses=lambda model, shown: {"loss": F.cross_entropy(model(shown.images), shown.targets)},
                validate=lambda model: {"accuracy": 0.5},
                optimizer=optimizer_settings(spec),
                settings=loop_settings(spec),
                folder=Path(folder),
            )
            train_loop(job)
        return loader.seconds / steps

    return run


def images_way(spec: ExperimentSpec, home: Path) -> Callable[[], float]:
    """Seconds of a step of the train stage; each round is another training."""
    context = RunContext(home)
    prepared = prepare(spec, context)
    rounds = iter(range(1, 10**6))

    def run() -> float:
        training = spec.training.model_copy(update={"seed": next(rounds)})
        trained = train(spec.model_copy(update={"training": training}), context, prepared)
        history = json.loads((Path(trained.folder) / "history.json").read_text("utf-8"))
        return spec.training.batch_size / float(history["epochs"][0]["images_per_second"])

    return run


def measure(steps: int, rounds: int, size: int, batch: int) -> dict[str, Any]:
    """Seconds of a step of each way, and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), steps * batch, size)
        spec = full(Path(folder), size, batch)
        torch.manual_seed(0)
        same = Batch(torch.randn(batch, 3, size, size), torch.arange(batch) % len(CLASSES), ("",) * batch)
        ways = {
            "bare": bare_way(spec, same, steps),
            "loop": loop_way(spec, same, steps),
            "images": images_way(spec, Path(folder) / "home"),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, run in ways.items():
                seconds = run()
                if number:  # the first round warms up, and decodes the images
                    found[way].append(seconds)
    medians = {way: statistics.median(times) for way, times in found.items()}
    return {
        "seconds_of_a_step": {way: round(value, 4) for way, value in medians.items()},
        "all": {way: [round(value, 4) for value in times] for way, times in found.items()},
        "loop_over_bare": round(medians["loop"] / medians["bare"], 4),
        "share_of_bare": round(medians["bare"] / medians["images"], 4),
    }


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("steps", 8), ("rounds", 5), ("size", 224), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = describe_hardware() | measure(asked.steps, asked.rounds, asked.size, asked.batch)
    print(json.dumps(found, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
