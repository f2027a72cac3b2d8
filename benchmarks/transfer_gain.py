"""What pretrained weights are worth: the demo specs from ImageNet weights and from random ones.

    python benchmarks/transfer_gain.py
    python benchmarks/transfer_gain.py specs/nuclei.yaml --seeds 0 1 2

Both start from the same spec, images, epochs and augmentation, and differ in the weights alone. The random
start trains every layer at the head's rate and lets batch norm gather its own statistics: freezing random
layers, or slowing them down, would make it look worse than it is.

Prints JSON: the gate's metric of each run on the test images, mean and range of both starts, and what
transfer gains.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import gate_metric
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import evaluate, read_evaluation
from transferflow.stages.prepare import prepare
from transferflow.stages.train.stage import train

SPECS = ("specs/quickstart.yaml", "specs/tree-crowns.yaml", "specs/nuclei.yaml", "specs/brain-tissue.yaml")


def random_start(spec: ExperimentSpec) -> ExperimentSpec:
    """The same spec without pretrained weights."""
    document = spec.model_dump(mode="json")
    channels = spec.data.channels
    document["backbone"] = {
        "source": "timm",
        "name": spec.backbone.name,
        "weights": "none",
        "normalization": {"mean": [0.5] * channels, "std": [0.5] * channels},
    }
    document["freeze"] = {"policy": "none", "batch_norm": "frozen"}
    document["optimizer"] |= {"layer_lr": {}, "layer_decay": None, "backbone_lr_scale": 1.0}
    return ExperimentSpec.model_validate(document)


def run(spec: ExperimentSpec, home: Path) -> dict[str, float]:
    context = RunContext(home=home)
    prepared = prepare(spec, context)
    started = time.perf_counter()
    trained = train(spec, context, prepared)
    seconds = time.perf_counter() - started
    evaluated = evaluate(spec, context, prepared, trained)
    found = read_evaluation(evaluated.folder).metrics[gate_metric(spec)].value
    return {"seed": spec.training.seed, "value": round(found, 4), "train_seconds": round(seconds, 1)}


def summary(runs: list[dict[str, float]]) -> dict[str, object]:
    values = [entry["value"] for entry in runs]
    return {
        "mean": round(statistics.mean(values), 4),
        "low": min(values),
        "high": max(values),
        "runs": runs,
    }


def compare(path: Path, seeds: list[int], overrides: list[str]) -> dict[str, object]:
    found: dict[str, list[dict[str, float]]] = {"transfer": [], "random": []}
    with tempfile.TemporaryDirectory() as home:
        for seed in seeds:
            spec = load_spec(path, [*overrides, f"training.seed={seed}"])
            for start, chosen in (("transfer", spec), ("random", random_start(spec))):
                found[start].append(run(chosen, Path(home)))
                print(f"{path.name} seed {seed} {start}: {found[start][-1]}", file=sys.stderr, flush=True)
    means = {start: statistics.mean(entry["value"] for entry in runs) for start, runs in found.items()}
    return {
        "spec": path.name,
        "metric": gate_metric(spec),
        "transfer": summary(found["transfer"]),
        "random": summary(found["random"]),
        "gain": round(means["transfer"] - means["random"], 4),
        "ratio": round(means["transfer"] / means["random"], 3) if means["random"] else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("specs", nargs="*", type=Path, default=[Path(name) for name in SPECS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    results = [compare(path, arguments.seeds, arguments.overrides) for path in arguments.specs]
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
