"""What a GPU gets out of this project, in one unattended run of under six minutes on a data-centre GPU.

    python benchmarks/gpu.py --json gpu.json --profile profiles
    python benchmarks/gpu.py --tiny        # a dry run on a CPU, whose figures mean nothing

Images are made here, weights are random. Steps: ResNet-50 and ViT-B/16, fine-tuned in bf16 by our own
loop from images on the disk, against a bare loop of the same model, losses and optimizer on tensors that lie
on the device already, which looks at no number; a frozen ResNet-50 with its activation cache; Faster R-CNN,
DeepLabV3. With each: images per second (the best epoch's, warm; of the bare loop the better of a run
before and one after), our share of the bare loop's, peak memory of the device, and the times that a step
waits for the device, as `torch.cuda.set_sync_debug_mode` counts them. `--profile` writes what takes time in
steps. A case that fails is told and the others go on; cases are left out once `--minutes` are over.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
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
from transferflow.stages.train.settings import loop_settings
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts, build_task
from transferflow.training.job import TrainJob
from transferflow.training.loop.build import arithmetic_of, build_stepper
from transferflow.training.loop.run import train
from transferflow.training.loop.stepper import Computed

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
BATCHES = {"classification": 128, "detection": 16, "segmentation": 16}
EPOCHS = {"classification": 4, "detection": 2, "segmentation": 2}


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    images: int
    size: int
    batches: Mapping[str, int]
    steps: int
    device: str


FULL = Sizes(2048, 224, BATCHES, 20, "cuda")
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
                "epochs": EPOCHS[task["kind"]],
                "batch_size": sizes.batches[task["kind"]],
                "precision": "bf16",
                "device": sizes.device,
            },
            **{key: case[key] for key in ("freeze", "head") if key in case},
        }
    )


def build_job(spec: ExperimentSpec, home: Path, folder: Path) -> TrainJob:
    """The job as `transferflow run` has it, from random weights; its checkpoints go to `folder`."""
    context = RunContext(home)
    snapshot = load_snapshot(prepare(spec, context).folder)
    task, parts = build_task(spec), build_parts(spec, snapshot.classes, pretrained=False)
    transform = eval_transform_of(spec, parts.preprocessing)
    shown = build_split_images(spec, snapshot, "val", transform, context.decoded_images)
    images = build_training_images(spec, shown, context.decoded_images)
    plan = compile_training_plan(spec, parts)
    settings = loop_settings(spec)
    return compile_job(
        spec, task, parts, plan, images, settings=settings, context=context, folder=folder, hooks=()
    )


def wait(device: str) -> None:
    """For what the device has to do."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def counted_waits(device: str) -> Iterator[Counter[str]]:
    """Where the block waits for the device, and how often."""
    found: Counter[str] = Counter()
    if device != "cuda":
        yield found
        return
    torch.cuda.set_sync_debug_mode("default")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found.update(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in said
        if "called a synchronizing" in str(warning.message)
    )


class Steps:
    """Steps of a job on one batch that lies on the device."""

    def __init__(self, job: TrainJob, batch: Batch, sizes: Sizes) -> None:
        self.job, self.sizes = job, sizes
        self.device = torch.device(sizes.device)
        self.arithmetic = arithmetic_of(job.settings, self.device)
        self.stepper = build_stepper(job, self.device, self.arithmetic)
        job.model.train()
        self.batch = batch.to(self.device, torch.channels_last)
        self.ahead: Computed | None = None

    def bare(self) -> None:
        """A step as anybody would write it."""
        with self.arithmetic.forward_pass(self.device):
            losses = self.job.losses(self.job.model, self.batch)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        self.stepper.optimizer.step()
        self.stepper.optimizer.zero_grad(set_to_none=True)

    def ours(self) -> None:
        """A step of our loop: where it runs ahead, the numbers of the one before are looked at in it."""
        computed, before = self.stepper.gradients(self.batch, 0), self.ahead
        if self.stepper.runs_ahead:
            self.ahead = computed
        else:
            self.stepper.read(computed)
        if before is not None:
            self.stepper.read(before)
            self.stepper.settle(1)
        self.stepper.move(computed)
        if not self.stepper.runs_ahead:
            self.stepper.settle(1)

    def speed(self, step: Callable[[], None]) -> float:
        """Images per second."""
        for _ in range(min(3, self.sizes.steps)):
            step()
        wait(self.sizes.device)
        started = time.perf_counter()
        for _ in range(self.sizes.steps):
            step()
        wait(self.sizes.device)
        return self.sizes.steps * len(self.batch) / (time.perf_counter() - started)

    def waits(self) -> Counter[str]:
        """Where a step of ours waits for the device, and how often."""
        with counted_waits(self.sizes.device) as found:
            self.ours()
        return found


def write_profile(steps: Steps, waits: Counter[str], to: Path) -> None:
    """What takes time in steps of ours on images from the disk."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if steps.sizes.device == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    images = iter(steps.job.train_loader.epoch(2))
    with torch.profiler.profile(activities=kinds) as profile:
        for batch in islice(images, 6):
            steps.batch = batch.to(steps.device, torch.channels_last)
            steps.ours()
        wait(steps.sizes.device)
    for _ in images:
        pass  # an epoch is to be finished
    kind = "device" if steps.sizes.device == "cuda" else "cpu"
    keys = (f"self_{kind}_time_total", "self_cpu_time_total")
    tables = [profile.key_averages().table(sort_by=key, row_limit=40) for key in keys]
    to.write_text("\n".join([f"waits: {dict(waits.most_common())}", *tables]))


def speed_of_loading(job: TrainJob, device: str) -> float:
    """Images per second of the batches of an epoch that nobody computes with."""
    started = time.perf_counter()
    images = sum(len(batch) for batch in job.train_loader.epoch(1))
    wait(device)
    return images / (time.perf_counter() - started)


def measure(name: str, root: Path, home: Path, sizes: Sizes, profiles: Path | None) -> dict[str, float]:
    """One case: our loop from the disk, the same steps on the device, waits and memory."""
    spec = build_spec(name, root, sizes)
    is_on_gpu = sizes.device == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        steps, bare = None, []
        again = build_job(spec, home, Path(folder) / "again")
        if "frozen" not in name:
            steps = Steps(again, next(iter(again.train_loader.epoch(0))), sizes)
            bare.append(steps.speed(steps.bare))
        held = 0
        if is_on_gpu:
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()  # by the bare loop
        job = build_job(spec, home, Path(folder) / "ours")
        # The metric of random weights may not be a number: any will do, and it chooses nothing that is timed.
        result = train(replace(job, validate=_validate(job)))
        ours = max(epoch["images_per_second"] for epoch in result.history)
        row = {"images_per_second": ours, "seconds_of_validation": result.history[-1]["measured_in"]}
        if is_on_gpu:
            row["peak_memory_gb"] = (torch.cuda.max_memory_allocated() - held) / 2**30
        if steps is not None:
            on_device = steps.speed(steps.ours)
            bare.append(steps.speed(steps.bare))
            row |= {"bare": max(bare), "on_the_device": on_device, "share": ours / max(bare)}
            waits = steps.waits()
            row["waits_per_step"] = float(waits.total())
            row["loading_alone"] = speed_of_loading(again, sizes.device)
            if profiles is not None:
                profiles.mkdir(exist_ok=True, parents=True)
                write_profile(steps, waits, profiles / f"{name.replace(' ', '-')}.txt")
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
    parser.add_argument("--profile", type=Path)
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
        images, home = Path(folder) / "images", Path(folder) / "home"
        images.mkdir()
        draw(images, sizes.images, sizes.size)
        for name in asked.cases:
            if time.monotonic() - started > 60 * asked.minutes:
                rows[name] = "left out: the time is over"
            else:
                try:
                    rows[name] = measure(name, images, home, sizes, asked.profile)
                except Exception as error:  # unattended: the other cases are worth having
                    traceback.print_exc()
                    rows[name] = f"failed: {error}"
            print(f"{name:26}", rows[name], flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"hardware": hardware, "cases": rows}, indent=2))


if __name__ == "__main__":
    main()
