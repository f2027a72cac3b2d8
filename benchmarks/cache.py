"""The activation cache: the same training with it, without it, and in a plain PyTorch loop.

    OMP_NUM_THREADS=1 python benchmarks/cache.py
    python benchmarks/cache.py --cases frozen views --images 400 --size 224 --epochs 10 --json cache.json

Every case trains EfficientNet-Lite0 from ImageNet weights on the same images, epochs, batch size, seed and
precision (fp32), validation after each epoch included; runs are interleaved, and the median counts. The plain
loop is for classifiers: images decoded beforehand, the frozen part in eval mode and without gradients. The
images are made here: noise with a bright square, whose colour is the class.

`next step`: seconds that a second spec, with another rate for the head, takes from the start of its train
stage to its first step: images and activations of the first one are there.

Prints a table of seconds and ratios; `--json` writes it with the hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.split_images import eval_transform_of
from transferflow.stages.train.stage import train
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts
from transferflow.training.freezing import apply_freeze
from transferflow.training.loop.stepper import Computed, Stepper

COLOURS = ((220, 60, 60), (60, 220, 60), (60, 60, 220), (220, 220, 60))
NAMES = ("red", "green", "blue", "yellow")
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "frozen": ("classification", {"freeze": {"policy": "backbone"}}, {}),
    "until": ("classification", {"freeze": {"policy": "until", "until": "blocks.4"}}, {}),
    "views": (
        "classification",
        {"freeze": {"policy": "backbone"}, "augmentation": {"preset": "similar_domain"}},
        {"activation_cache": {"views": 4}},
    ),
    "detection": ("detection", {"freeze": {"policy": "backbone"}, "head": {"kind": "fcos"}}, {}),
    "segmentation": ("segmentation", {"freeze": {"policy": "backbone"}, "head": {"kind": "lite"}}, {}),
}
"""Task, sections, and what the training section adds with the cache."""


def draw(root: Path, images: int, size: int) -> None:
    """Images with labels, boxes and outlines: a fifth of them for validation, one for the test."""
    random = np.random.default_rng(0)
    table, coco = ["path,label,split"], {split: ([], []) for split in ("train", "val", "test")}
    for number in range(images + images // 5 + 4):
        kind, side = number % 4, int(random.integers(size // 4, size // 2))
        x, y = (int(v) for v in random.integers(0, size - side, 2))
        pixels = random.integers(60, 160, (size, size, 3)).astype(np.uint8)
        pixels[y : y + side, x : x + side] = COLOURS[kind]
        name = f"{number:05}.jpg"
        Image.fromarray(pixels).save(root / name, quality=90)
        split = "train" if number < images else "val" if number < images + images // 5 else "test"
        table.append(f"{name},{NAMES[kind]},{split}")
        coco[split][0].append({"id": number, "file_name": name, "width": size, "height": size})
        outline = [x, y, x + side, y, x + side, y + side, x, y + side]
        box = {"bbox": [x, y, side, side], "segmentation": [outline], "area": side * side, "iscrowd": 0}
        coco[split][1].append({"id": number, "image_id": number, "category_id": kind, **box})
    (root / "labels.csv").write_text("\n".join(table))
    for split, (listed, objects) in coco.items():
        categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
        document = {"images": listed, "annotations": objects, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(document))


def build_spec(case: str, root: Path, size: int, epochs: int, *, cached: bool) -> ExperimentSpec:
    """The spec of a case."""
    task, sections, with_cache = CASES[case]
    formats: dict[str, Any] = {"format": "csv", "file": "labels.csv"}
    if task != "classification":
        formats = {
            "format": "coco",
            "annotations": {split: f"{split}.json" for split in ("train", "val", "test")},
        }
    setting = with_cache if cached else {"activation_cache": "off"}
    training = {"epochs": epochs, "batch_size": 32 if task == "classification" else 8, "precision": "fp32"}
    return ExperimentSpec.model_validate(
        {
            "name": "cache",
            "task": {"kind": task},
            "data": {"root": str(root), "image_size": size, **formats},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
            "augmentation": {"preset": "none"},
            "training": {**training, "device": "cpu", "workers": 0, **setting},
            **sections,
        }
    )


def ours(spec: ExperimentSpec) -> tuple[float, float]:
    """Seconds of a training in a home of its own, whose images are decoded already; and its best metric."""
    with tempfile.TemporaryDirectory() as home:
        context = RunContext(Path(home))
        prepared = prepare(spec, context)
        once = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 1})})
        train(once.model_copy(update={"name": "decode"}), context, prepared)
        started = time.perf_counter()
        trained = train(spec, context, prepared)
        return time.perf_counter() - started, float(trained.summary["best_value"])


def next_step(spec: ExperimentSpec) -> float:
    """Seconds until a spec that differs in its rate alone takes its first step."""
    moved: list[float] = []
    move = Stepper.move

    def watched(stepper: Stepper, computed: Computed) -> None:
        moved.append(time.perf_counter())
        move(stepper, computed)

    with tempfile.TemporaryDirectory() as home:
        context = RunContext(Path(home))
        prepared = prepare(spec, context)
        train(spec, context, prepared)
        rate = spec.optimizer.model_copy(update={"lr": spec.optimizer.lr / 2})
        second = spec.model_copy(update={"name": "second", "optimizer": rate})
        with mock.patch.object(Stepper, "move", watched):
            started = time.perf_counter()
            train(second, context, prepared)
    return moved[0] - started


def plain(spec: ExperimentSpec) -> tuple[float, float]:
    """The same classifier in a plain loop, its images in memory from the start; unvaried."""
    with tempfile.TemporaryDirectory() as home:
        context = RunContext(Path(home))
        snapshot = load_snapshot(prepare(spec, context).folder)
        listed = {split: read_rows(snapshot, split) for split in ("train", "val")}
    parts = build_parts(spec, snapshot.classes, pretrained=True)
    transform = eval_transform_of(spec, parts.preprocessing)
    images, labels = {}, {}
    for split, rows in listed.items():
        images[split] = torch.stack(
            [transform(np.asarray(Image.open(row.absolute_path).convert("RGB"))) for row in rows]
        )
        labels[split] = torch.tensor([snapshot.classes.index(row.labels[0]) for row in rows])
    model, plan = parts.model.to(memory_format=torch.channels_last), compile_training_plan(spec, parts)
    started, best = time.perf_counter(), 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(spec.training.epochs):
        model.train()
        apply_freeze(model, parts.groups, plan.freeze.at(epoch), plan.freeze.batch_norm)
        for chosen in torch.randperm(len(labels["train"])).split(spec.training.batch_size):
            optimizer.zero_grad()
            shown = images["train"][chosen].contiguous(memory_format=torch.channels_last)
            F.cross_entropy(model(shown), labels["train"][chosen]).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            right = [
                (model(i.contiguous(memory_format=torch.channels_last)).argmax(1) == t).sum()
                for i, t in zip(images["val"].split(32), labels["val"].split(32), strict=True)
            ]
        best = max(best, float(sum(right)) / len(labels["val"]))
    return time.perf_counter() - started, best


def measure(case: str, root: Path, size: int, epochs: int, repeats: int) -> dict[str, Any]:
    """Seconds and best validation metric of each way, interleaved."""
    cached = build_spec(case, root, size, epochs, cached=True)
    uncached = build_spec(case, root, size, epochs, cached=False)
    ways = {"cached": lambda: ours(cached), "uncached": lambda: ours(uncached)}
    if CASES[case][0] == "classification":
        ways["plain"] = lambda: plain(uncached)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            found[way].append(run())
    seconds = {way: statistics.median(s for s, _ in runs) for way, runs in found.items()}
    return {
        "case": case,
        "seconds": {way: round(value, 2) for way, value in seconds.items()},
        "times_faster": {way: round(seconds[way] / seconds["cached"], 1) for way in ways if way != "cached"},
        "next_step": round(statistics.median(next_step(cached) for _ in range(repeats)), 2),
        "best": {way: round(statistics.median(b for _, b in runs), 4) for way, runs in found.items()},
    }


def describe_hardware() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    hardware = describe_hardware()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), asked.images, asked.size)
        print(f"{'case':14}{'cached':>10}{'uncached':>10}{'plain':>10}   times faster than uncached, plain")
        for case in asked.cases:
            row = measure(case, Path(folder), asked.size, asked.epochs, asked.repeats)
            rows.append(row)
            times = [
                f"{row['seconds'].get(way, float('nan')):10.1f}" for way in ("cached", "uncached", "plain")
            ]
            figures = f"{row['times_faster']}  best {row['best']}  next step {row['next_step']} s"
            print(f"{case:14}{''.join(times)}   {figures}", flush=True)
    settings = {name: getattr(asked, name) for name in ("images", "size", "epochs", "repeats")}
    if asked.json:
        asked.json.write_text(json.dumps({"hardware": hardware, **settings, "cases": rows}, indent=2))


if __name__ == "__main__":
    main()
