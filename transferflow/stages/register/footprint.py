"""What a model costs where it runs: the size of its weights, and the time for one image on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.pixels import read_image
from transferflow.inference.model import answer_images
from transferflow.spec import ExperimentSpec
from transferflow.tasks.bundle import load_for_answers
from transferflow.tasks.bundle_files import WEIGHTS
from transferflow.training.device import pick_device

_WARM_UP, _MEASURED = 5, 50


def size_in_mb(bundle: Path) -> float:
    """Size of the weights in MB (10^6 bytes)."""
    return (bundle / WEIGHTS).stat().st_size / 1e6


def measure_latency(spec: ExperimentSpec, snapshot: DatasetSnapshot, bundle: Path) -> float:
    """Median time in milliseconds from one image's pixels to its answer, after a warm-up.

    Args:
        spec: Says on which device.
        snapshot: Whose test images are taken, one after the other.
        bundle: The model.
    """
    loaded = load_for_answers(bundle, pick_device(spec.training.device))
    rows = read_rows(snapshot, "test")[:_MEASURED]
    pixels = [read_image(row, spec.data.channels, spec.data.intensity) for row in rows]
    times = []
    for number in range(_WARM_UP + _MEASURED):
        start = time.perf_counter()
        answer_images(loaded, [("image", pixels[number % len(pixels)])])
        times.append(time.perf_counter() - start)
    return 1000 * median(times[_WARM_UP:])
