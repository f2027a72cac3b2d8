"""How long PyTorch's threads spin: a training step on a quiet machine, and beside busy processes.

    python benchmarks/threads.py [--steps 12] [--repeats 3] [--busy 2] [--json threads.json]

Each way is a process of its own, which takes the same training steps (EfficientNet-Lite0, 64 images of 64
pixels, random weights); ways are interleaved and the median counts. The load is made here: processes that
compute without end. Beside them the fair share of the machine is cpus / (threads + busy) of what it would be
alone, where that is below 1; `of fair share` says how much of it a way gets.

On a machine where others work, the quiet column is not quiet: what it prints first says how busy it is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

WAYS: dict[str, Mapping[str, str]] = {
    "default": {},
    "spin 300": {"GOMP_SPINCOUNT": "300"},
    "spin 1000 (ours)": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_TOLD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_STEPS = """
import sys, time, timm, torch
model = timm.create_model("tf_efficientnet_lite0", num_classes=10).to(memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
images = torch.randn(64, 3, 64, 64).contiguous(memory_format=torch.channels_last)
targets = torch.randint(10, (64,))
def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), targets).backward()
    optimizer.step()
step()
started = time.perf_counter()
for _ in range(int(sys.argv[1])):
    step()
print((time.perf_counter() - started) / int(sys.argv[1]))
"""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Processes that compute for the length of the block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def seconds_per_step(way: Mapping[str, str], steps: int) -> float:
    """Median time of a step in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in _TOLD}
    done = subprocess.run(
        [sys.executable, "-c", _STEPS, str(steps)],
        env={**plain, **way},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def measure(steps: int, repeats: int, processes: int) -> list[dict[str, float | str]]:
    """Each way, quiet and beside busy processes, interleaved."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in WAYS}
    for _ in range(repeats):
        for name, way in WAYS.items():
            found[name][0].append(seconds_per_step(way, steps))
            with busy(processes):
                found[name][1].append(seconds_per_step(way, steps))
    best = min(statistics.median(found[name][0]) for name in WAYS if name != "one thread")
    rows: list[dict[str, float | str]] = []
    for name, (quiet, loaded) in found.items():
        threads = int(WAYS[name].get("OMP_NUM_THREADS", _cpus()))
        share = min(1.0, _cpus() / (threads + processes))
        alone, beside = statistics.median(quiet), statistics.median(loaded)
        row = {
            "quiet": alone,
            "beside": beside,
            "over the best": alone / best,
            "of fair share": alone / beside / share,
        }
        rows.append({"way": name, **{key: round(value, 3) for key, value in row.items()}})
    return rows


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, value in (("--steps", 12), ("--repeats", 3), ("--busy", 2)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    hardware = {"cpus": _cpus(), "load at the start": os.getloadavg()[0]}
    print(hardware, f"{asked.busy} busy processes", time.strftime("%Y-%m-%d"))
    rows = measure(asked.steps, asked.repeats, asked.busy)
    print(f"{'way':20}{'quiet':>9}{'beside':>9}{'over the best':>16}{'of fair share':>16}")
    for row in rows:
        print(f"{row['way']:20}" + "".join(f"{row[key]:>{width}}" for key, width in _COLUMNS))
    if asked.json:
        asked.json.write_text(json.dumps({"hardware": hardware, "ways": rows}, indent=2))


_COLUMNS = (("quiet", 9), ("beside", 9), ("over the best", 16), ("of fair share", 16))

if __name__ == "__main__":
    main()
