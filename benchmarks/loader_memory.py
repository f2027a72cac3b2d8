"""Memory that a loader process has for itself once it has loaded every image of a data set.

    python benchmarks/loader_memory.py --rows 200000

Rows, labels, groups and boxes are made up, and an image is a few gray pixels, so that what is measured is
what loader processes share. Prints JSON: for each kind of data set and way of starting two processes the MiB
that the first shares with nobody (`Private_Dirty` of `smaps_rollup`; Linux) before the first image and after
the last, and the CPU seconds between; and the bytes that a process which does not start as a fork is sent.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pickle
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pyarrow as pa

from transferflow.data.loading.cache import CacheFolder
from transferflow.data.loading.dataset import ImageDataset
from transferflow.data.records import Box, DatasetSnapshot, Record
from transferflow.data.snapshot.manifest import build_table, read_rows, write_table
from transferflow.data.transforms.evaluation import build_eval_transform
from transferflow.data.transforms.sample import Resized
from transferflow.spec.sections.data import TableData

CLASSES = tuple(f"class {number}" for number in range(10))
BATCH = 64
SIDE = 4
WORKERS = 2


class MadeUp(ImageDataset):
    """Looks at a row, as what decodes an image does, and decodes nothing."""

    def _decode(self, place: int) -> Resized:
        row = self.rows[place]
        return Resized(np.full((SIDE, SIDE, 3), 128, np.uint8), None, (row.height, row.width))


def write_manifest(folder: Path, count: int, *, boxes: bool) -> DatasetSnapshot:
    """A manifest of images with a label each, or with three boxes each."""
    drawn = tuple(Box(10.0 * n, 20.0, 10.0 * n + 50, 80.0, CLASSES[n]) for n in range(3)) if boxes else ()
    names = [f"folder {place // 2000:04}/image {place:08}.png" for place in range(count)]
    records = [
        Record(
            name,
            name,
            labels=() if boxes else (CLASSES[place % 10],),
            boxes=drawn,
            group=f"patient {place // 3}",
            source=f"labels.csv:{place + 2}",
        )
        for place, name in enumerate(names)
    ]
    facts = {
        "sha256": pa.array([f"{place:064x}" for place in range(count)]),
        "width": pa.array([640] * count, pa.int32()),
        "height": pa.array([480] * count, pa.int32()),
        "orientation": pa.array([1] * count, pa.int8()),
    }
    folder.mkdir()
    write_table(build_table(records, ["train"] * count, pa.table(facts)), folder)
    return DatasetSnapshot(folder, folder, "", CLASSES, 3, {"train": count}, {}, 0)


def build(folder: Path, kind: str, count: int) -> ImageDataset:
    """A data set of a kind, its decoded images in a cache if that is the kind."""
    snapshot = write_manifest(folder / kind, count, boxes=kind == "boxes")
    section = TableData(format="csv", root=str(folder), file="labels.csv", image_size=16)
    transform = build_eval_transform(section, "stretch", mean=(0.5,) * 3, std=(0.5,) * 3)
    rows = read_rows(snapshot, "train")
    images = MadeUp(rows, CLASSES, transform, boxes=kind == "boxes", masks=None, seed=0)
    if kind == "cached":
        images.use_cache(CacheFolder(folder / "cache", 64.0))
    return images


def private() -> float:
    """MiB that this process alone has."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) / 1024


def load_all(images: ImageDataset, answer: Connection, loaded: Barrier) -> None:
    """Load every image once, as a loader process does; what all of them have read is looked at then."""
    before, started = private(), time.process_time()
    for first in range(0, len(images), BATCH):
        found = images.__getitems__([(0, place) for place in range(first, min(first + BATCH, len(images)))])
        if isinstance(found, Exception):
            raise found
    seconds = time.process_time() - started
    loaded.wait()
    after = private()
    loaded.wait()
    answer.send({"before": round(before, 1), "after": round(after, 1), "seconds": round(seconds, 1)})


def measure(images: ImageDataset, start: str) -> dict[str, float]:
    """What the first of two processes says that start in a way."""
    context = multiprocessing.get_context(start)
    loaded = context.Barrier(WORKERS)
    pipes = [context.Pipe() for _ in range(WORKERS)]
    processes = [context.Process(target=load_all, args=(images, there, loaded)) for _, there in pipes]
    for process in processes:
        process.start()
    found: list[dict[str, float]] = [here.recv() for here, _ in pipes]
    for process in processes:
        process.join()
    return found[0]


def main() -> None:
    """Measure all kinds of data sets and ways of starting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=["labels", "boxes", "cached"])
    parser.add_argument("--starts", nargs="+", default=["fork", "forkserver"])
    asked = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as name:
            images = build(Path(name), kind, asked.rows)
            found[kind] = {start: measure(images, start) for start in asked.starts}
            found[kind]["sent"] = len(pickle.dumps(images))
    print(json.dumps({"rows": asked.rows, "found": found}, indent=1))


if __name__ == "__main__":
    main()
