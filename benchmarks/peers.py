"""Side by side with peers: the same images, weights, epochs, batch size and seed; a process for each run.

    make bench                                                      # sets up the peers' environment, too
    python benchmarks/peers.py --python PEERS/bin/python [--images 300] [--size 160] [--repeats 3] [--bf16]

Cases: a frozen backbone; the same with augmentation (ours draws 4 views); frozen up to the second-last stage
(`until: blocks.5`); full fine-tuning; detection with a frozen backbone against torchvision's reference loop
on the very same model: FCOS of 256 channels on the light EfficientNet-Lite0, and of 64 on the heavy ViT-B/16
(`heavy`, with `--size 224`), whose weights are random, as no others are at hand.
Seconds are those of the training: validation, decoding and (ours) checkpoints and the written model included,
imports not. Our run finds nothing in its home. Accuracy (detection: mAP50) is of the last epoch, memory the
most that a process had at a time.

Ours chooses its precision itself (`auto`; a trial of both is part of its time where it makes one); peers are
in fp32, as installed, unless `--bf16` is said.

Prints a table, and writes JSON with the hardware; runs are interleaved, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from cache import NAMES, describe_hardware, draw

from transferflow.data.snapshot.build import load_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.split_images import build_split_images, eval_transform_of, split_loader
from transferflow.stages.train.stage import train
from transferflow.tasks.build import build_parts, build_task

HERE = Path(__file__).parent
PEERS = ("plain", "lightning", "fastai")
BATCH = 32
HEAVY = "vit_base_patch16_224"
BOXES = 8
"""Images per batch of a detector."""
CASES: Mapping[str, Mapping[str, Any]] = {
    "frozen": {"freeze": {"policy": "backbone"}},
    "views": {
        "freeze": {"policy": "backbone"},
        "augmentation": {"preset": "similar_domain"},
        "training": {"activation_cache": {"views": 4}},
    },
    "until": {"freeze": {"policy": "until", "until": "blocks.5"}},
    "full": {"freeze": {"policy": "none"}},
    "detection": {
        "freeze": {"policy": "backbone"},
        "head": {"kind": "fcos"},
        "schedule": {"kind": "constant"},
    },
    "heavy": {
        "freeze": {"policy": "backbone"},
        "head": {"kind": "fcos", "pyramid_channels": 64},
        "backbone": {"source": "checkpoint", "library": "timm", "name": HEAVY},
        "schedule": {"kind": "constant"},
    },
}
DETECTORS = ("detection", "heavy")
PEER_UNTIL = {"frozen": "backbone", "views": "backbone", "until": "blocks.5", "full": None}


def build_spec(case: str, asked: argparse.Namespace, root: Path) -> ExperimentSpec:
    """Our spec of a case."""
    sections = {name: dict(section) for name, section in CASES[case].items()}
    if case == "heavy":
        sections["backbone"]["weights"] = str(root / f"{HEAVY}.pth")
    detects = case in DETECTORS
    training = {
        "epochs": asked.long_epochs if case == "full" else asked.epochs,
        "batch_size": BOXES if detects else BATCH,
        "precision": "auto",
        "device": "cpu",
        "workers": 0,
        **sections.pop("training", {}),
    }
    coco = {"format": "coco", "annotations": {split: f"{split}.json" for split in ("train", "val", "test")}}
    files = coco if detects else {"format": "csv", "file": "labels.csv"}
    return ExperimentSpec.model_validate(
        {
            "name": case,
            "task": {"kind": "detection" if detects else "classification"},
            # Nothing is cut off, as the peers' loops cut off nothing.
            "data": {"root": str(root), "image_size": asked.size, "fit": "stretch", **files},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
            "augmentation": {"preset": "none"},
            "optimizer": {"kind": "adamw", "lr": 1e-3},
            "training": training,
            **sections,
        }
    )


def run_ours(spec: ExperimentSpec) -> dict[str, float]:
    """A training in a home of its own; it loads its libraries when it begins, which is no training."""
    import transferflow.stages.train.assembly  # noqa: F401

    with tempfile.TemporaryDirectory() as home:
        context = RunContext(Path(home))
        prepared = prepare(spec, context)
        started = time.perf_counter()
        trained = train(spec, context, prepared)
        seconds = time.perf_counter() - started
        history = json.loads((trained.folder / "history.json").read_text())
    last = history["epochs"][-1]
    is_bf16 = float(history["precision"] == "bf16")
    return {"seconds": seconds, "accuracy": last.get("accuracy", last.get("map50")), "bf16": is_bf16}


def run_reference(spec: ExperimentSpec) -> dict[str, float]:
    """Torchvision's reference loop (references/detection/engine.py): images decoded in every epoch.

    Its optimizer is ours, so that what both have learnt can be compared.
    """
    with tempfile.TemporaryDirectory() as home:
        context = RunContext(Path(home))
        snapshot = load_snapshot(prepare(spec, context).folder)
        uncached = spec.model_copy(update={"data": spec.data.model_copy(update={"cache": None})})
        task, parts = build_task(spec), build_parts(spec, snapshot.classes, pretrained=True)
        transform = eval_transform_of(spec, parts.preprocessing)
        images = split_loader(uncached, snapshot, "train", transform, Path(home))
        shown = build_split_images(uncached, snapshot, "val", transform, Path(home))
        losses, model = task.build_losses(snapshot), parts.model
        for group in parts.groups:
            if group.part == "backbone":
                for path in group.modules:
                    model.get_submodule(path).requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        started, found = time.perf_counter(), 0.0
        for epoch in range(spec.training.epochs):
            model.train()
            for group in parts.groups:
                if group.part == "backbone":
                    for path in group.modules:
                        model.get_submodule(path).eval()
            for batch in images.epoch(epoch):
                loss = sum(losses(model, batch).values(), torch.zeros(()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            predicted = shown.predict(task, model.eval(), snapshot.classes, Path(home))
            found = task.evaluate(predicted, resamples=0, seed=0).metrics["map50"].value
        return {"seconds": time.perf_counter() - started, "accuracy": found}


def write_case(case: str, asked: argparse.Namespace, spec: ExperimentSpec, folder: Path) -> Path:
    """What a peer is told, with the weights that we start from."""
    parts = build_parts(spec, NAMES, pretrained=True)
    weights = folder / "weights.pt"
    torch.save(parts.model.get_submodule("backbone.model").state_dict(), weights)
    told = {
        "root": spec.data.root and str(spec.data.root),
        "weights": str(weights),
        "classes": list(NAMES),
        "until": PEER_UNTIL[case],
        "augment": case == "views",
        "epochs": spec.training.epochs,
        "batch_size": BATCH,
        "size": asked.size,
        "seed": 0,
        "bf16": asked.bf16,
    }
    file = folder / f"{case}.json"
    file.write_text(json.dumps(told))
    return file


def in_a_process(*words: str) -> dict[str, float]:
    """What a run prints last."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(case: str, asked: argparse.Namespace, root: Path, folder: Path) -> dict[str, Any]:
    """Every way of a case, interleaved."""
    given = [str(HERE / "peers.py"), *sys.argv[1:], "--root", str(root), "--one"]
    ways = {"ours": (sys.executable, *given, case, "ours")}
    if case in DETECTORS:
        ways["torchvision"] = (sys.executable, *given, case, "reference")
    else:
        told = write_case(case, asked, build_spec(case, asked, root), folder)
        for peer in PEERS if asked.python else ("plain",):
            ways[peer] = (asked.python or sys.executable, str(HERE / "peer_loops.py"), peer, str(told))
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(asked.repeats):
        for way, words in ways.items():
            found[way].append(in_a_process(*words))
    row = {
        way: {
            name: round(statistics.median(run[name] for run in runs), 3)
            for name in ("seconds", "accuracy", "memory_gb")
        }
        for way, runs in found.items()
    }
    fastest = min(values["seconds"] for way, values in row.items() if way != "ours")
    times = round(fastest / row["ours"]["seconds"], 1)
    computed_in = sorted({"bf16" if run["bf16"] else "fp32" for run in found["ours"]})
    return {"case": case, "ways": row, "times": times, "ours in": computed_in}


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", help="of the peers' environment; left out: the plain loop alone, in ours")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    numbers = {"--images": 300, "--size": 160, "--epochs": 10, "--long-epochs": 3, "--repeats": 3}
    for name, value in numbers.items():
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print; with `--one`, run one way of ours in this process."""
    asked = parse()
    if asked.one:
        case, way = asked.one
        run = run_ours if way == "ours" else run_reference
        found = run(build_spec(case, asked, asked.root))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(found | {"memory_gb": peak}))
        return
    hardware = describe_hardware() | {"load at the start": os.getloadavg()[0]}
    print(hardware)
    rows = []
    with tempfile.TemporaryDirectory() as images, tempfile.TemporaryDirectory() as folder:
        draw(Path(images), asked.images, asked.size)
        if "heavy" in asked.cases:
            torch.manual_seed(0)
            torch.save(timm.create_model(HEAVY).state_dict(), Path(images) / f"{HEAVY}.pth")
        for case in asked.cases:
            rows.append(measure(case, asked, Path(images), Path(folder)))
            ways = "  ".join(
                f"{way} {values['seconds']:.1f} s ({values['accuracy']:.3f}, {values['memory_gb']:.2f} GB)"
                for way, values in rows[-1]["ways"].items()
            )
            print(f"{case:10} {rows[-1]['times']:5} times the fastest peer   {ways}", flush=True)
            print(f"{'':10} ours in {', '.join(rows[-1]['ours in'])}", flush=True)
    if asked.json:
        settings = {
            name: getattr(asked, name) for name in ("images", "size", "epochs", "long_epochs", "bf16")
        }
        asked.json.write_text(json.dumps({"hardware": hardware, **settings, "cases": rows}, indent=2))


if __name__ == "__main__":
    main()
