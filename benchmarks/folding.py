"""What the layout of images and folded batch norm save in a forward pass.

    OMP_NUM_THREADS=1 python benchmarks/folding.py
    OMP_NUM_THREADS=1 python benchmarks/folding.py --models resnet50 --batch-size 8 --rounds 5

It is how evaluation, `predict` and the frozen part of a training compute. CPU seconds in fp32 of timm models
without weights: in PyTorch's own layout, channels last,
and with batch norm folded, once for good and anew for each pass, as the frozen part of a training does. All
ways are interleaved in one process, and the fastest round counts. Prints JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from contextlib import nullcontext

import timm
import torch

from transferflow.models.cut.folding import apply_folds, find_folds, folded


def measure(name: str, asked: argparse.Namespace) -> dict[str, object]:
    """Seconds of each way, and ratios to PyTorch's own layout."""
    images = torch.randn(asked.batch_size, 3, asked.image_size, asked.image_size)
    last = images.to(memory_format=torch.channels_last)
    model = timm.create_model(name, num_classes=0).eval()
    folds = find_folds(model, (3, asked.image_size, asked.image_size))
    laid_out = copy.deepcopy(model).to(memory_format=torch.channels_last)
    short = copy.deepcopy(laid_out)
    apply_folds(short, folds)
    ways = {
        "contiguous": (model, images, False),
        "channels last": (laid_out, last, False),
        "folded in each pass": (laid_out, last, True),
        "folded for good": (short, last, False),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        for _ in range(asked.rounds + 1):
            for way, (asked_model, shown, anew) in ways.items():
                started = time.process_time()
                with folded(asked_model, folds) if anew else nullcontext():
                    asked_model(shown)
                seconds[way].append(time.process_time() - started)
    best = {way: min(values[1:]) for way, values in seconds.items()}  # the first round warms up
    return {
        "folds": len(folds),
        "seconds": {way: round(value, 4) for way, value in best.items()},
        "ratio": {way: round(value / best["contiguous"], 3) for way, value in best.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "resnet18"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # idle threads spin, and count as CPU time
    found = {name: measure(name, asked) for name in asked.models}
    print(json.dumps({"settings": vars(asked), "torch": torch.__version__, **found}, indent=2))


if __name__ == "__main__":
    main()
