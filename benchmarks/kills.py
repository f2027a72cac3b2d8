"""Kill a training at random times until it has had enough, and compare its weights with an undisturbed one.

    python benchmarks/kills.py --kills 50

A small data set is prepared and trained through the stages in a child process, which is ended with SIGKILL
(or, with `--signal TERM`, SIGTERM) after a random time, and started again. Prints JSON: how often it was
killed, in which place the next one went on, whether the weights have the same bits, and what it cost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm  # noqa: F401  loaded before the fork: each start would take seconds
import torch
from PIL import Image

from transferflow.errors import TransferflowError
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train.stage import train

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def draw_images(root: Path, images: int) -> None:
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(images // len(COLOURS)):
            noise = draw.integers(-120, 120, (48, 48, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:04}.png")


def build_spec(root: Path, every_minutes: float, epochs: int) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "name": "killed",
            "task": {"kind": "classification"},
            "data": {"format": "image_folder", "root": str(root), "image_size": 48},
            "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
            "freeze": {
                "policy": "phases",
                "phases": [{"epochs": 2, "train": ["head"]}, {"epochs": 2, "train": ["*"], "lr_scale": 0.5}],
            },
            "head": {"dropout": 0.3},
            "augmentation": {"preset": "different_domain"},
            "training": {
                "epochs": epochs,
                "batch_size": 16,
                "workers": 1,
                "device": "cpu",
                "ema": 0.99,
                "gradient_clip": 1.0,
                "checkpoint": {"every_minutes": every_minutes},
            },
        }
    )


def run(spec: ExperimentSpec, home: Path) -> Path:
    context = RunContext(home)
    return train(spec, context, prepare(spec, context)).folder


def start(spec: ExperimentSpec, home: Path, log: Path) -> int:
    """Run the stages in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 0
    logging.basicConfig(filename=log, format="%(message)s", force=True)
    logging.getLogger("transferflow").setLevel(logging.INFO)
    try:
        run(spec, home)
    except TransferflowError as error:
        code = error.exit_code
    finally:
        os._exit(code)


def weights_digest(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds that a run lives at most")
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between checkpoints")
    parser.add_argument("--images", type=int, default=900)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(args.seed)
    number = getattr(signal, f"SIG{args.signal}")
    with tempfile.TemporaryDirectory() as folder:
        root, log = Path(folder) / "images", Path(folder) / "log.txt"
        draw_images(root, args.images)
        spec = build_spec(root, args.every / 60, args.epochs)
        started = time.perf_counter()
        child = start(spec, Path(folder) / "whole", Path(folder) / "whole.txt")
        os.waitpid(child, 0)
        undisturbed = time.perf_counter() - started
        kills, starts, stopping = 0, 0, []
        started = time.perf_counter()
        while kills < args.kills:
            child = start(spec, Path(folder) / "cut", log)
            starts += 1
            time.sleep(draw.uniform(0, args.longest))
            asked = time.perf_counter()
            os.kill(child, number)
            _, status = os.waitpid(child, 0)
            stopping.append(time.perf_counter() - asked)
            if os.waitstatus_to_exitcode(status) == 0:
                break  # it was done before
            kills += 1
        child = start(spec, Path(folder) / "cut", log)
        _, status = os.waitpid(child, 0)
        lines = log.read_text().splitlines() if log.exists() else []
        whole, cut = (weights_digest(run(spec, Path(folder) / name)) for name in ("whole", "cut"))
        found = {
            "settings": vars(args),
            "kills": kills,
            "last_exit": os.waitstatus_to_exitcode(status),
            "went_on_within_an_epoch": sum("goes on after" in line and "steps" in line for line in lines),
            "went_on_after_an_epoch": sum("goes on after" in line and "steps" not in line for line in lines),
            "damaged_and_skipped": sum("not used" in line for line in lines),
            "slowest_stop_seconds": round(max(stopping), 2),
            "same_bits": whole == cut,
            "seconds_undisturbed": round(undisturbed, 1),
            "seconds_killed": round(time.perf_counter() - started, 1),
        }
    json.dump(found, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
