"""What a GPU gets out of this project, in one unattended run of under six minutes on a data-centre GPU.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --tiny        # a dry run on a CPU, whose figures mean nothing

Images are made here, weights are random. Steps: ResNet-50 and ViT-B/16, fine-tuned in bf16 by our own
loop from images on the disk, against the same model and optimizer on tensors that lie on the device already;
a frozen ResNet-50 with its activation cache; Faster R-CNN and DeepLabV3 steps. With each: images per second
(the best epoch's, warm), peak memory of the device, and the times that a step waits for the device, as
`torch.cuda.set_sync_debug_mode` counts them. A case that fails is told and the others go on; cases are
left out once `--minutes` are over.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cache import draw

from transferflow.data.loading.batch import Batch
from transferflow.data.snapshot.build import load_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.job import build_training_images, compile_job
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts, build_task
from transferflow.training.job import TrainJob
from transferflow.training.loop.build import arithmetic_of, build_stepper
from transferflow.training.loop.run import train

COCO = {"format": "coco", "annotations": {split: f"{split}.json" for split in ("train", "val", "test")}}
TABLE = {"format": "csv", "file": "labels.csv"}
RESNET = {"source": "torchvision", "name": "resnet50", "weights": "IMAGENET1K_V2"}
VIT = {"source": "torchvision", "name": "vit_b_16", "weights": "IMAGENET1K_V1"}
"""Specs name weights, as random ones can't be frozen; none are loaded."""
CASES: Mapping[str, Mapping[str, Any]] = {
    "resnet50": {"backbone": RESNET, "freeze": {"policy": "none"}},
    "vit_b_16": {"backbone": VIT, "freeze": {"policy": "none"}},
    "resnet50 frozen, cached": {"backbone": RESNET, "freeze": {"policy": "backbone"}},
    "faster r-cnn": {"task": {"kind": "detection"}, "data": COCO, "backbone": RESNET},
    "deeplabv3": {
        "task": {"kind": "segmentation"},
        "data": COCO,
        "backbone": RESNET,
        "freeze": {"policy": "none"},
    },
}
BATCHES = {"classification": 128, "detection": 8, "segmentation": 16}
EPOCHS = 3


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    images: int
    size: int
    batches: Mapping[str, int]
    steps: int
    device: str


FULL = Sizes(1024, 224, BATCHES, 20, "cuda")
TINY = Sizes(8, 224, dict.fromkeys(BATCHES, 4), 1, "cpu")


def build_spec(name: str, root: Path, sizes: Sizes) -> ExperimentSpec:
    """The spec of a case."""
    case = CASES[name]
    task = case.get("task", {"kind": "classification"})
    return ExperimentSpec.model_validate(
        {
            "name": "gpu",
            "task": task,
            "data": {"root": str(root), "image_size": sizes.size, **case.get("data", TABLE)},
            "backbone": case["backbone"],
            "augmentation": {"preset": "none"},
            "training": {
                "epochs": EPOCHS,
                "batch_size": sizes.batches[task["kind"]],
                "precision": "bf16",
                "device": sizes.device,
            },
            **{key: case[key] for key in ("freeze", "head") if key in case},
        }
    )


def build_job(spec: ExperimentSpec, home: Path) -> TrainJob:
    """The job as `transferflow run` has it, from random weights."""
    context = RunContext(home)
    snapshot = load_snapshot(prepare(spec, context).folder)
    task, parts = build_task(spec), build_parts(spec, snapshot.classes, pretrained=False)
    transform = eval_transform_of(spec, parts.preprocessing)
    shown = build_split_images(spec, snapshot, "val", transform, context.decoded_images)
    images = build_training_images(spec, shown, context.decoded_images)
    plan = compile_training_plan(spec, parts)
    return compile_job(spec, task, parts, plan, images, context=context, folder=home / "work", hooks=())


def wait(device: str) -> None:
    """For what the device has to do."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def counted_waits(device: str) -> Iterator[list[int]]:
    """How often the block waits for the device."""
    found = [0]
    if device != "cuda":
        yield found
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found[0] = sum("synchroniz" in str(warning.message) for warning in said)


def measure_steps(job: TrainJob, batch: Batch, sizes: Sizes) -> tuple[float, float]:
    """Images per second of steps on a batch that lies on the device, and waits per step."""
    device = torch.device(sizes.device)
    stepper = build_stepper(job, device, arithmetic_of(job.model, job.settings, device))
    job.model.train()
    there = batch.to(device, torch.channels_last)

    def steps(first: int, count: int) -> None:
        for number in range(first, first + count):
            stepper.apply(stepper.gradients(there, number).norm, number + 1)

    steps(0, 3 if sizes.steps > 1 else 1)
    wait(sizes.device)
    started = time.perf_counter()
    steps(3, sizes.steps)
    wait(sizes.device)
    speed = sizes.steps * len(batch) / (time.perf_counter() - started)
    with counted_waits(sizes.device) as waits:
        steps(100, 1)
    return speed, float(waits[0])


def measure(name: str, root: Path, sizes: Sizes) -> dict[str, float]:
    """One case: our loop from the disk, the same steps on the device, waits and memory."""
    spec = build_spec(name, root, sizes)
    with tempfile.TemporaryDirectory() as folder:
        job = build_job(spec, Path(folder))
        if sizes.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        # The metric of random weights may not be a number: any will do, and it chooses nothing that is timed.
        result = train(replace(job, validate=_validate(job)))
        row = {"images_per_second": max(epoch["images_per_second"] for epoch in result.history)}
        row["seconds_of_validation"] = result.history[-1]["measured_in"]
        if sizes.device == "cuda":
            row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 2**30
        if "frozen" not in name:
            again = build_job(spec, Path(folder) / "again")
            batch = next(iter(again.train_loader.epoch(0)))
            speed, waits = measure_steps(again, batch, sizes)
            row |= {
                "on_the_device": speed,
                "share": row["images_per_second"] / speed,
                "waits_per_step": waits,
            }
    return {key: round(value, 3) for key, value in row.items()}


def _validate(job: TrainJob) -> Callable[[torch.nn.Module], Mapping[str, float]]:
    def validate(model: torch.nn.Module) -> Mapping[str, float]:
        started = time.perf_counter()
        job.validate(model)
        return {job.settings.metric: 0.0, "measured_in": time.perf_counter() - started}

    return validate


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    sizes, started = (TINY if asked.tiny else FULL), time.monotonic()
    if sizes.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device; --tiny is a dry run on a CPU")
    hardware = {
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if sizes.device == "cuda" else "CPU, a dry run",
        "torch": torch.__version__,
    }
    print(hardware, flush=True)
    rows: dict[str, dict[str, float] | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), sizes.images, sizes.size)
        for name in asked.cases:
            if time.monotonic() - started > 60 * asked.minutes:
                rows[name] = "left out: the time is over"
            else:
                try:
                    rows[name] = measure(name, Path(folder), sizes)
                except Exception as error:  # unattended: the other cases are worth having
                    traceback.print_exc()
                    rows[name] = f"failed: {error}"
            print(f"{name:26}", rows[name], flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"hardware": hardware, "cases": rows}, indent=2))


if __name__ == "__main__":
    main()
