"""What nothing costs: a look at data that has not changed, and deploying specs that have not changed.

    python benchmarks/operations.py [--images 1000] [--looks 5] [--specs 100]

Looks and polls run as processes of their own, their start included, on a Prefect server of its own. The specs
are committed to a git repository. Prints JSON.
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
from operations_machine import Machine, machine_in
from PIL import Image
from prefect.client.schemas.objects import State, StateType

COMMAND = "transferflow.cli.main"
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


def run(machine: Machine, module: str, *words: str) -> tuple[float, float]:
    """Run a process in the machine's folder; gives its CPU seconds and wall seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | machine.settings
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        command, cwd=machine.folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started


def measure_looks(machine: Machine, images: int, looks: int) -> dict[str, float]:
    """CPU seconds of looks at a data set that a training has seen."""
    make_data(machine.folder / "data", images)
    (machine.folder / "spec.yaml").write_text(SPEC.format(name="bench"))
    run(machine, COMMAND, "refresh", "spec.yaml", "--no-prefect")
    run(machine, COMMAND, "refresh", "spec.yaml")  # the first look notes what it has seen
    seconds = [run(machine, COMMAND, "refresh", "spec.yaml")[0] for _ in range(looks)]
    return {
        "images": images,
        "cpu_seconds_median": float(np.median(seconds)),
        "cpu_seconds_max": max(seconds),
    }


def measure_polls(machine: Machine, polls: int) -> dict[str, dict[str, float]]:
    """CPU seconds of a deployed poll that finds nothing, and of Prefect's engine instead of it."""
    run(machine, COMMAND, "deploy", "spec.yaml", "--project", "benchmark")
    deployment = machine.client.read_deployment_by_name("refresh/benchmark.bench")
    result = {}
    for module in ("transferflow.pipelines.poll", "prefect.engine"):
        runs = [machine.client.create_flow_run_from_deployment(deployment.id) for _ in range(polls)]
        for one in runs:
            machine.client.set_flow_run_state(one.id, State(type=StateType.PENDING), force=True)
        before, started, seconds = server_seconds(machine), time.perf_counter(), []
        for one in runs:
            machine.settings["PREFECT__FLOW_RUN_ID"] = str(one.id)
            seconds.append(run(machine, module)[0])
            state = machine.state(one)
            if state is None or state.name != "NothingToDo":
                raise SystemExit(f"{module}: {state}")
        result[module] = {
            "cpu_seconds_median": float(np.median(seconds)),
            "cpu_seconds_max": max(seconds),
            "server_cpu_seconds_each": (server_seconds(machine) - before) / polls,
            "wall_seconds_each": (time.perf_counter() - started) / polls,
        }
    return result


def server_seconds(machine: Machine) -> float:
    """CPU seconds of the server so far."""
    assert machine.server is not None
    fields = Path(f"/proc/{machine.server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_deploys(machine: Machine, specs: int) -> dict[str, float]:
    """Wall seconds of deploying specs, and of deploying them again."""
    (machine.folder / "specs").mkdir(parents=True)
    for number in range(specs):
        (machine.folder / "specs" / f"{number:03}.yaml").write_text(SPEC.format(name=f"bench-{number:03}"))
    for words in (["init", "-q"], ["add", "specs"], ["commit", "-q", "-m", "specs"]):
        who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", *who, *words], cwd=machine.folder, check=True)
    words = ["deploy", "specs/", "--project", "benchmark"]
    first, again, third = (run(machine, COMMAND, *words)[1] for _ in range(3))
    return {
        "specs": specs,
        "deployments": 2 * specs,
        "first_seconds": first,
        "again_seconds": min(again, third),
        "again_seconds_max": max(again, third),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("--images", 1000), ("--looks", 5), ("--specs", 100)):
        parser.add_argument(name, type=int, default=value)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, machine_in(Path(name)) as machine:
        result = {
            "look": measure_looks(machine, arguments.images, arguments.looks),
            "poll": measure_polls(machine, arguments.looks),
            "deploy": measure_deploys(machine, arguments.specs),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
