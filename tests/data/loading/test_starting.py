"""Loader processes that are forks of this one, of a server, or no forks at all."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from transferflow.data.loading import fork_server, starting
from transferflow.data.loading.loader import build_loader
from transferflow.data.loading.starting import build_context, decide_start_method
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.transforms.evaluation import build_eval_transform
from transferflow.data.transforms.training import build_train_transform
from transferflow.errors import DataError
from transferflow.spec.sections.augmentation import Augmentation
from transferflow.training.distributed import orphans
from transferflow.training.tracking import helper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system starts processes otherwise")
SCRIPT = Path(__file__).with_name("unguarded.py")


@pytest.mark.parametrize(
    ("platform", "threads", "cuda", "expected"),
    [
        ("linux", [], False, "fork"),
        ("linux", [], True, "forkserver"),
        ("linux", ["QueueFeederThread", "QueueFeederThread-2"], False, "fork"),
        ("linux", ["filelock-lease-4711"], False, "fork"),
        ("linux", ["transferflow-watch", "transferflow-read"], False, "fork"),
        ("linux", ["QueueFeederThread", "PrefectThread"], False, "forkserver"),
        ("darwin", [], False, "spawn"),
        ("win32", ["Thread-1"], False, "spawn"),
    ],
)
def test_decide_start_method(platform, threads, cuda, expected):
    assert decide_start_method(platform, threads, cuda) == expected


def test_a_thread_of_somebody_decides(monkeypatch):
    asked = []
    monkeypatch.setattr(starting, "decide_start_method", lambda *facts: asked.append(facts) or "fork")
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait, name="theirs")
    thread.start()
    build_context(cuda=True)
    hold.set()
    thread.join()
    build_context(cuda=False)
    (platform, names, cuda), (_, without, _) = asked
    assert (platform, cuda) == (sys.platform, True)
    assert "theirs" in names
    assert threading.current_thread().name not in names
    assert "theirs" not in without


@pytest.fixture
def build(tmp_path, snapshot_of, data_section, truth_of, monkeypatch):
    """Build a loader of varied images with boxes or masks, whose processes start in a given way."""
    snapshots = {}
    draw = np.random.default_rng(0)
    for kind in ("detection", "segmentation"):
        for number in range(20):
            truth = tmp_path / kind / ("labels" if kind == "detection" else "masks")
            for folder in (tmp_path / kind / "images", truth):
                folder.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (40, 60, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / "images" / f"{number}.png")
            if kind == "detection":
                (truth / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.25 0.25\n")
            else:
                Image.fromarray(pixels[..., 0] // 128).save(truth / f"{number}.png")
    (tmp_path / "detection" / "data.yaml").write_text("names: [thing, other]\n")
    formats = {
        "detection": {"format": "yolo"},
        "segmentation": {"format": "mask_folder", "classes": ["dark", "bright"]},
    }

    def run(kind, method, workers):
        fields = formats[kind] | {"image_size": 32, "split": {"train": 0.6, "val": 0.2, "test": 0.2}}
        root = tmp_path / kind
        if kind not in snapshots:
            snapshots[kind] = snapshot_of(root, kind, **fields)
        base = build_eval_transform(
            data_section(root=str(root), **fields), "letterbox", mean=(0.5,) * 3, std=(0.25,) * 3
        )
        varied = TypeAdapter(Augmentation).validate_python({"preset": "different_domain"})
        truth = truth_of(kind)
        monkeypatch.setattr(starting, "decide_start_method", lambda *facts: method)
        return build_loader(
            snapshots[kind],
            "train",
            transform=build_train_transform(varied, base, truth.moving),
            batch_size=4,
            seed=0,
            workers=workers,
            truth=truth,
            train=True,
            cache=None,
        )

    return run


def bits(batches):
    """Everything of some batches, as bytes."""
    for batch in batches:
        targets = batch.targets
        tensors = [targets] if torch.is_tensor(targets) else [t[key] for t in targets for key in sorted(t)]
        yield batch.ids, [tensor.numpy().tobytes() for tensor in (batch.images, *tensors)]


def test_batches_do_not_depend_on_how_processes_start(build):
    main = sys.modules["__main__"]
    for kind, methods in {
        "detection": ("fork", "forkserver"),
        "segmentation": ("forkserver", "spawn"),
    }.items():
        expected = list(bits(build(kind, "fork", 0).epoch(1)))
        assert len(expected) > 1
        for method in methods:
            before = set(multiprocessing.active_children())  # of loaders that are gone, but not collected yet
            loader = build(kind, method, 1)
            assert list(bits(loader.epoch(1))) == expected
            (child,) = set(multiprocessing.active_children()) - before
            assert child._start_method == method
    assert sys.modules["__main__"] is main
    assert "PYTHONSAFEPATH" not in os.environ


def test_how_processes_start_is_decided_when_they_do(build, monkeypatch):
    loader = build("detection", "fork", 1)
    early = build("detection", "forkserver", 1)
    others = []

    def decide(platform, threads, cuda):
        others.append(threads)
        return "spawn"

    monkeypatch.setattr(starting, "decide_start_method", decide)
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait, name="began meanwhile")
    thread.start()
    for asked in (loader, early):
        asked.read([])
    hold.set()
    thread.join()
    assert ["began meanwhile" in names for names in others] == [True, True]
    contexts = [asked._loader.multiprocessing_context for asked in (loader, early)]
    assert [context.get_start_method() for context in contexts] == ["spawn", "spawn"]
    loader.read([])
    assert len(others) == 2  # the processes of a loader are the same in every epoch


def test_our_own_threads_are_known(monkeypatch):
    hold, before = threading.Event(), set(threading.enumerate())
    monkeypatch.setattr(orphans, "end_at_once", lambda: None)
    orphans.end_with_parent(also=lambda: hold.wait() or True)
    shipping = helper.Helper(["-c", "input()"])
    shipping.start()
    names = [thread.name for thread in set(threading.enumerate()) - before]
    hold.set()
    shipping.end(finished=True)
    assert len(names) == 2
    assert decide_start_method("linux", names, False) == "fork"


def test_a_killed_process_is_told_in_the_same_words(build, monkeypatch):
    look = _MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(look, "__defaults__", (0.2,))  # torch looks each 5 s
    before = set(multiprocessing.active_children())
    loader = build("detection", "forkserver", 1)
    list(loader.epoch(0))
    (child,) = set(multiprocessing.active_children()) - before
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="a process that loads images died") as error:
        list(loader.epoch(1))
    assert f"{child.pid}" in error.value.problems[0].found
    assert "training.workers" in error.value.problems[0].hint


def test_a_server_that_dies_while_it_starts_is_told(build, monkeypatch):
    class Gone:
        def connect_to_new_process(self, descriptors):
            raise ConnectionRefusedError

    loader = build("detection", "forkserver", 1)
    monkeypatch.setattr(fork_server, "begin_server", Gone)
    with pytest.raises(DataError, match="a process that loads images died") as error:
        list(loader.epoch(0))
    assert error.value.problems[0].found == "the process that starts them is gone"


def test_a_script_without_a_guard(tmp_path, paint, snapshot_of):
    """It does not start again, no signal to its group reaches what loads, and nothing outlives it."""
    for number in range(8):
        paint(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", number)
    snapshot = snapshot_of(tmp_path / "photos", format="image_folder", image_size=16)
    (tmp_path / "queue.py").write_text("raise SystemExit('the module of somebody else')\n")
    script = tmp_path / "apart" / "script.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.read_text())
    with subprocess.Popen(
        [sys.executable, str(script), str(snapshot.path)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        first = json.loads(process.stdout.readline())
        assert len(first["workers"]) == 2
        (server,) = first["parents"]
        assert server != process.pid
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.killpg(process.pid, number)
        process.stdin.write("\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == first
        process.kill()
        assert process.stderr.read() == ""  # which ends with the last process that holds it
    assert first["ids"] == [row.id for row in read_rows(snapshot, "train")]
    assert (tmp_path / "starts").read_text() == "__main__\n"
    until = time.monotonic() + 10
    while any(lives(pid) for pid in (server, *first["workers"])):
        assert time.monotonic() < until
        time.sleep(0.05)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
