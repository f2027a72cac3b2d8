"""Many short runs on few GPUs, some of them killed: is a GPU ever taken twice, and how soon is it free again?

    python benchmarks/operations_slots.py [--runs 100] [--kills 10] [--gpus 2] [--at-once 8]

Each run is a process that takes a GPU as a deployed run does, and holds it for a moment. The GPUs are names
only: none is needed. Prints JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HOLD_SECONDS = 0.4
RUN = """
import sys, time
from pathlib import Path
from transferflow.pipelines.slots import taking_gpus
with taking_gpus(1) as (gpu,):
    with Path(sys.argv[1]).open("a") as log:
        log.write(f"{gpu} {time.monotonic()}\\n")
    time.sleep(float(sys.argv[2]))
    with Path(sys.argv[1]).open("a") as log:
        log.write(f"{gpu} {time.monotonic()}\\n")
"""


def start(folder: Path, number: int, gpus: Sequence[str]) -> subprocess.Popen[bytes]:
    settings = {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "TRANSFERFLOW_SLOTS": str(folder / "slots")}
    words = [sys.executable, "-c", RUN, str(folder / f"{number}.log"), str(HOLD_SECONDS)]
    return subprocess.Popen(words, env=os.environ | settings)


def read(file: Path) -> list[tuple[str, float]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [(gpu, float(at)) for gpu, at in map(str.split, lines)]


def run_all(folder: Path, runs: int, kills: int, gpus: Sequence[str], at_once: int) -> dict[str, object]:
    """Start them, so many at once, and kill some while they hold a GPU."""
    doomed = set(random.Random(0).sample(range(runs), kills))
    waiting, alive = list(range(runs)), dict[int, subprocess.Popen[bytes]]()
    held: list[tuple[str, float, float]] = []
    killed: list[tuple[str, float]] = []
    while waiting or alive:
        while waiting and len(alive) < at_once:
            number = waiting.pop(0)
            alive[number] = start(folder, number, gpus)
        for number, process in list(alive.items()):
            told = read(folder / f"{number}.log")
            if number in doomed and told and process.poll() is None:
                (gpu, begin), now = told[0], time.monotonic()
                process.send_signal(signal.SIGKILL)
                process.wait()
                held.append((gpu, begin, now))
                killed.append((gpu, now))
            elif process.poll() is not None and len(told) == 2:
                held.append((told[0][0], told[0][1], told[1][1]))
            if process.poll() is not None:
                del alive[number]
        time.sleep(0.02)
    return describe(held, killed)


def describe(
    held: Sequence[tuple[str, float, float]], killed: Sequence[tuple[str, float]]
) -> dict[str, object]:
    """Who overlapped whom on a GPU, and when it was taken again after a kill."""
    twice = 0
    for gpu in {gpu for gpu, _, _ in held}:
        times = sorted((begin, end) for name, begin, end in held if name == gpu)
        twice += sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(times))
    after = [
        min((begin - at for name, begin, _ in held if name == gpu and begin > at), default=None)
        for gpu, at in killed
    ]
    again = [seconds for seconds in after if seconds is not None]
    return {
        "runs": len(held),
        "killed": len(killed),
        "taken_twice": twice,
        "seconds_until_taken_again_max": round(max(again), 2) if again else None,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("--runs", 100), ("--kills", 10), ("--gpus", 2), ("--at-once", 8)):
        parser.add_argument(name, type=int, default=value)
    given = parser.parse_args()
    gpus = [f"GPU-{number}" for number in range(given.gpus)]
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(run_all(Path(name), given.runs, given.kills, gpus, given.at_once), indent=2))


if __name__ == "__main__":
    main()
