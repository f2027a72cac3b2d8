"""Step time of fp32, bf16 and the two memory layouts: what `training.precision: auto` rests on.

    python benchmarks/precision.py
    python benchmarks/precision.py --model resnet50 --image-size 128 --batch-size 16 --until layer2

Prints JSON: seconds per training step of each variant, and its ratio to fp32 in the usual layout. Rounds of
all variants are interleaved, and the fastest round counts, so that other load on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from itertools import product

import timm
import torch
from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.models.backbones.grouping import compile_groups
from transferflow.models.backbones.timm_slices import slice_timm
from transferflow.models.layers import Block, LayerGroup
from transferflow.spec.sections.freeze import FreezeNone, FreezeUntil
from transferflow.spec.sections.optimizer import AdamW
from transferflow.training.device import Arithmetic, Precision, pick_device
from transferflow.training.freezing import apply_freeze, compile_freeze
from transferflow.training.job import OptimizerSettings
from transferflow.training.loop.stepper import Stepper
from transferflow.training.optimizer import build_optimizer
from transferflow.training.rates import decide_rates

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


class Classifier(nn.Module):
    """A timm model without weights and a linear head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.backbone = timm.create_model(name, num_classes=0)
        self.head = nn.Linear(self.backbone.num_features, 10)
        names = tuple(f"head.{n}" for n, _ in self.head.named_parameters())
        head = LayerGroup("head", "head", (Block("head", names),), ("head",))
        self.groups = (*compile_groups(self, slice_timm(self.backbone, "backbone")), head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))


def build_stepper(name: str, until: str | None, precision: Precision, layout: str) -> Stepper:
    torch.manual_seed(0)
    device = pick_device("auto")
    model = Classifier(name).to(device).to(memory_format=LAYOUTS[layout])
    freeze = compile_freeze(
        FreezeUntil(policy="until", until=until) if until else FreezeNone(policy="none"), model.groups, 1
    )
    model.train()
    apply_freeze(model, model.groups, freeze.at(0), freeze.batch_norm)
    rates = decide_rates(model, model.groups, AdamW(), backbone_scale=1.0)
    return Stepper(
        model,
        build_optimizer(model, rates, OptimizerSettings("adamw")),
        None,
        lambda m, batch: {"loss": nn.functional.cross_entropy(m(batch.images).float(), batch.targets)},
        Arithmetic(precision, LAYOUTS[layout]),
        device,
        None,
    )


def measure(stepper: Stepper, batches: list[Batch]) -> float:
    """Seconds of CPU time per step (of the clock on a GPU), which other load on the machine disturbs less."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    for step, batch in enumerate(batches):
        computed = stepper.gradients(batch, step)
        stepper.read(computed)
        stepper.move(computed)
        stepper.settle(step + 1)
    return (clock() - started) / len(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--until", default="blocks.3", help="last frozen group; none: nothing is frozen")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="idle threads spin, and count as CPU time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    until = None if args.until == "none" else args.until
    generator = torch.Generator().manual_seed(0)
    batches = [
        Batch(
            torch.randn(args.batch_size, 3, args.image_size, args.image_size, generator=generator),
            torch.randint(10, (args.batch_size,), generator=generator),
            ("",) * args.batch_size,
        )
        for _ in range(args.steps)
    ]
    variants = {
        f"{precision} {layout}": build_stepper(args.model, until, precision, layout)
        for precision, layout in product(PRECISIONS, LAYOUTS)
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(args.rounds + 1):
        for name, stepper in variants.items():
            seconds[name].append(measure(stepper, batches))
    best = {name: min(values[1:]) for name, values in seconds.items()}  # the first round warms up
    print(
        json.dumps(
            {
                "settings": vars(args),
                "torch": torch.__version__,
                "machine": platform.machine(),
                "seconds_per_step": {name: round(value, 4) for name, value in best.items()},
                "ratio": {name: round(value / best["fp32 contiguous"], 3) for name, value in best.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
