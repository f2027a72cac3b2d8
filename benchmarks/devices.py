"""Time of a training step on 1, 2, … devices for the same batch, and what summing the gradients takes of it.

    python benchmarks/devices.py                                     # all GPUs of this machine
    python benchmarks/devices.py --device cpu --devices 1 2 --model resnet18 --batch-size 8 --image-size 64

Prints JSON: for each number of devices the seconds per step, the speed as a ratio to one device, and the
share of the step that goes into the sum of gradients after the backward pass (measured by itself, with the
device waited for). Not measured on several GPUs yet.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transferflow.training.distributed.launch import Launch, launch
from transferflow.training.distributed.rank import run_rank
from transferflow.training.ranks import Ranks

STEPS, WARM_UP = 20, 5


def work(job: Mapping[str, Any], ranks: Ranks) -> None:
    import timm
    import torch
    from torch import nn

    from transferflow.data.loading.batch import Batch
    from transferflow.training.device import computes_bf16_fast, decide_arithmetic, pick_device
    from transferflow.training.loop.stepper import Stepper

    device = pick_device(job["device"])
    model = timm.create_model(job["model"], num_classes=10).to(device).train()
    arithmetic = decide_arithmetic("auto", device, bf16=computes_bf16_fast(device))
    model.to(memory_format=arithmetic.memory_format)
    optimizer = torch.optim.AdamW(model.parameters())

    def losses(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": nn.functional.cross_entropy(model(batch.images).float(), batch.targets)}

    stepper = Stepper(model, optimizer, None, losses, arithmetic, device, None, ranks=ranks)
    images = job["batch_size"] // ranks.world
    side = job["image_size"]
    batch = Batch(torch.randn(images, 3, side, side), torch.arange(images) % 10, tuple("x" * images))

    def step() -> None:
        stepper.move(stepper.gradients(batch, 0))
        stepper.settle(1)

    def add_up() -> None:
        ranks.add_up([parameter.grad for parameter in model.parameters() if parameter.grad is not None])

    whole = seconds_of(step, device.type)
    stepper.gradients(batch, 0)
    found = {"seconds_per_step": whole, "gradients_share": seconds_of(add_up, device.type) / whole}
    if ranks.rank == 0:
        Path(job["result"]).write_text(json.dumps(found))


def seconds_of(call: Callable[[], None], device: str) -> float:
    """Mean seconds of a call, after some that do not count."""
    import torch

    started = 0.0
    for number in range(WARM_UP + STEPS):
        if number == WARM_UP:
            started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - started) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--devices", type=int, nargs="+", help="left out: 1, 2, 4, … up to all GPUs")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    counts = options.devices
    if not counts:
        import torch

        gpus = torch.cuda.device_count()
        counts = [2**n for n in range(gpus.bit_length()) if 2**n <= gpus]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for devices in counts:
            result = Path(folder) / f"{devices}.json"
            job = vars(options) | {"result": str(result)}
            launch(Launch((__file__, "--rank"), devices, options.device, 0), job)
            found[str(devices)] = json.loads(result.read_text())
    first = found[str(counts[0])]["seconds_per_step"]
    for each in found.values():
        each["speed"] = first / each["seconds_per_step"]
    sys.stdout.write(json.dumps({**vars(options), "devices": found}, indent=2) + "\n")


if __name__ == "__main__":
    if "--rank" in sys.argv[1:2]:
        run_rank(Path(sys.argv[2]), work)
    else:
        main()
