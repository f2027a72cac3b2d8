"""Time and memory of listing, digest, manifest, splits, checks and diff over a synthetic CSV of many rows.

    python benchmarks/data_scale.py --rows 1000000

The images are links to a few real files, so that listing, stat and hashing bookkeeping are real while
decoding, which `inspect_shard` does in parallel and which costs what the images cost, is replaced by
made-up facts. Prints JSON: seconds per step and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from transferflow.data.listing import listing_digest, load_listing
from transferflow.data.snapshot.build import build_snapshot
from transferflow.data.snapshot.diff import compare_snapshots
from transferflow.data.snapshot.shards import Shard, facts_schema
from transferflow.spec.sections.data import Split, TableData
from transferflow.spec.sections.truth import LabelTruth

CLASSES = 10
PER_FOLDER = 2_000


def made_up_facts(shards: Sequence[Shard]) -> Iterable[pa.Table]:
    """What `inspect_shard` would find, without reading anything but the file's state."""
    for shard in shards:
        schema = facts_schema(shard.reader)
        rows: dict[str, list[object]] = {name: [] for name in schema.names}
        for name in shard.names:
            status = (shard.reader.root / name).stat()
            digest = hashlib.sha256(name.encode())
            values = {
                "sha256": digest.hexdigest(),
                "size": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "width": 640,
                "height": 480,
                "mode": "RGB",
                "orientation": 1,
                "brightness": digest.digest()[0] / 255,
                "phash": digest.digest(),
            }
            for column, cells in rows.items():
                cells.append(values.get(column))
        yield pa.table(rows, schema=schema)


def write_data(root: Path, rows: int) -> None:
    """A table of `rows` images in folders of 2,000, all hard links to one small file per folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    with (root / "labels.csv").open("w") as table:
        table.write("path,label,group\n")
        for start in range(0, rows, PER_FOLDER):
            folder = root / f"{start // PER_FOLDER:04}"
            folder.mkdir()
            Image.fromarray(pixels).save(folder / "0.png")
            for i in range(start, min(rows, start + PER_FOLDER)):
                if i > start:
                    os.link(folder / "0.png", folder / f"{i - start}.png")
                table.write(f"{folder.name}/{i - start}.png,class {i % CLASSES},patient {i // 3}\n")


def main() -> None:
    """Run all steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    seconds: dict[str, float] = {}

    @contextmanager
    def clock(step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[step] = round(time.perf_counter() - started, 1)

    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        root.mkdir()
        with clock("write the synthetic set"):
            write_data(root, rows)
        data = TableData(
            format="csv", root=str(root), file="labels.csv", split=Split(), near_duplicates="warning"
        )
        truth = LabelTruth()
        with clock("listing"):
            listing = load_listing(data, truth)
        with clock("digest"):
            listing_digest(listing)
        with clock("snapshot: facts, splits, checks, near duplicates, manifest"):
            old = build_snapshot(data, truth, listing, Path(name) / "old", inspect=made_up_facts)
        with (root / "labels.csv").open() as table:
            lines = table.readlines()
        with (root / "labels.csv").open("w") as table:
            table.writelines(lines[: -rows // 100])
        del lines, listing
        with clock("listing again, 1 % of the rows removed"):
            listing = load_listing(data, truth)
        with clock("incremental snapshot"):
            new = build_snapshot(
                data, truth, listing, Path(name) / "new", previous=old, inspect=made_up_facts
            )
        del listing
        with clock("diff"):
            diff = compare_snapshots(old, new)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        json.dumps(
            {
                "rows": rows,
                "seconds": seconds,
                "peak_gb": round(peak, 2),
                "removed": len(diff.removed),
                "moved": len(diff.moved),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
