"""A script without a guard, which loads beside a thread of its own; for `test_starting.py`."""

import json
import multiprocessing
import signal
import sys
import threading
import time
from pathlib import Path

from pydantic import TypeAdapter

from transferflow.data.loading.loader import build_loader
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.transforms.evaluation import build_eval_transform
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.truth import LabelTruth

with Path("starts").open("a") as stream:
    stream.write(f"{__name__}\n")
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: None)
data = TypeAdapter(Data).validate_python({"format": "image_folder", "root": ".", "image_size": 16})
loader = build_loader(
    load_snapshot(Path(sys.argv[1])),
    "train",
    transform=build_eval_transform(data, "crop", mean=(0.5,) * 3, std=(0.5,) * 3),
    batch_size=2,
    seed=0,
    workers=2,
    truth=LabelTruth(),
    train=False,
    cache=None,
)
for epoch in range(2):
    ids = [image for batch in loader.epoch(epoch) for image in batch.ids]
    children = [child.pid for child in multiprocessing.active_children()]
    parents = {Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1] for pid in children}
    print(json.dumps({"ids": ids, "workers": children, "parents": [int(p) for p in parents]}), flush=True)
    sys.stdin.readline()
