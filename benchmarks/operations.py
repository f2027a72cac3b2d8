"""What nothing costs: a look at data that has not changed, and deploying specs that have not changed.

    python benchmarks/operations.py [--images 1000] [--looks 5] [--specs 100]

Looks run as commands of their own, process start included. Deploying needs PREFECT_API_URL; without it that
part is left out. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SPEC = """\
name: {name}
task: {{kind: classification}}
data: {{format: image_folder, root: data, image_size: 32}}
backbone: {{source: timm, name: test_resnet.r160_in1k, weights: none}}
training: {{epochs: 1, workers: 0}}
evaluation: {{bootstrap: 0}}
deployment: {{schedule: {{cron: "0 3 * * *"}}, refresh: {{poll: "*/30 * * * *", settle_minutes: 0.0}}}}
"""


def make_data(folder: Path, images: int) -> None:
    """Write small images of three classes."""
    random = np.random.default_rng(0)
    for number in range(images):
        label = folder / ("a", "b", "c")[number % 3]
        label.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (24, 24, 3)).astype("uint8")).save(label / f"{number}.png")


def run(folder: Path, *words: str) -> tuple[float, float]:
    """Run a command; gives its CPU seconds and wall seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "transferflow.cli.main", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started


def measure_looks(folder: Path, images: int, looks: int) -> dict[str, float]:
    """CPU seconds of looks at a data set that a training has seen."""
    make_data(folder / "data", images)
    (folder / "spec.yaml").write_text(SPEC.format(name="bench"))
    run(folder, "refresh", "spec.yaml", "--no-prefect")
    run(folder, "refresh", "spec.yaml")  # the first look notes what it has seen
    seconds = [run(folder, "refresh", "spec.yaml")[0] for _ in range(looks)]
    return {
        "images": images,
        "cpu_seconds_median": float(np.median(seconds)),
        "cpu_seconds_max": max(seconds),
    }


def measure_deploys(folder: Path, specs: int) -> dict[str, float]:
    """Wall seconds of deploying specs, and of deploying them again."""
    (folder / "specs").mkdir(parents=True)
    for number in range(specs):
        (folder / "specs" / f"{number:03}.yaml").write_text(SPEC.format(name=f"bench-{number:03}"))
    first, again = (run(folder, "deploy", "specs/", "--project", "benchmark")[1] for _ in range(2))
    return {"specs": specs, "deployments": 2 * specs, "first_seconds": first, "again_seconds": again}


def measure_polls(folder: Path, polls: int) -> dict[str, float]:
    """CPU seconds of the process of a deployed poll that finds nothing, and of Prefect's engine instead."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State, StateType

    run(folder, "deploy", "spec.yaml", "--project", "benchmark")
    seconds: dict[str, list[float]] = {"transferflow.pipelines.poll": [], "prefect.engine": []}
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("refresh/benchmark.bench")
        for module in [name for name in seconds for _ in range(polls)]:
            one = client.create_flow_run_from_deployment(deployment.id)
            client.set_flow_run_state(one.id, State(type=StateType.PENDING), force=True)
            environment = os.environ | {"PREFECT__FLOW_RUN_ID": str(one.id)}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", module]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[module].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            state = client.read_flow_run(one.id).state
            if state is None or state.name != "NothingToDo":
                raise SystemExit(f"{module}: {state}")
    return {f"{name}_cpu_seconds_median": float(np.median(each)) for name, each in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("--images", 1000), ("--looks", 5), ("--specs", 100)):
        parser.add_argument(name, type=int, default=value)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {"look": measure_looks(folder, arguments.images, arguments.looks)}
        if os.environ.get("PREFECT_API_URL"):
            result["poll"] = measure_polls(folder, arguments.looks)
            result["deploy"] = measure_deploys(folder, arguments.specs)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
