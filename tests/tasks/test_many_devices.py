"""Every task trained in two processes on a CPU: the loss curve and the metrics of one."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from transferflow.stages.context import RunContext
from transferflow.stages.train import spread
from transferflow.stages.train.assembly import FitInputs
from transferflow.training.distributed.launch import Launch, launch

SCRIPT = str(Path(__file__).with_name("ranks_run.py"))
TRAINING = {"epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu", "precision": "fp32"}
HEAD_FIRST = {
    "policy": "phases",
    "batch_norm": "all_frozen",
    "phases": [{"epochs": 2, "train": ["head"]}, {"epochs": 1, "train": ["*"]}],
}
TOLERANCE = {
    "classification": 1e-3,
    "head": 1e-3,
    "regression": 1e-3,
    "segmentation": 0.05,
    "detection": 0.2,
    "whole": 0.05,
    "shapes": 0.2,
}
"""Relative, of the losses: Dice and those of a detector are ratios over a share, see docs/stages.md."""


def changed(spec, **sections):
    common = {
        "freeze": {"policy": "none", "batch_norm": "all_frozen"},
        "augmentation": {"preset": "none"},
        "training": TRAINING,
    }
    document = spec.model_dump(mode="json", exclude_unset=True)
    return type(spec).model_validate(document | common | sections)


def on(spec, devices):
    """The spec on so many devices."""
    training = spec.training.model_copy(update={"devices": devices})
    return spec.model_copy(update={"training": training})


def varied(root, other):
    """A copy of a data set in which images, masks too, go on to the right or below, up to 1:4 and 4:1."""
    shutil.copytree(root, other)
    for path in other.rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        number = int(path.stem)
        more = [(0, pixels.shape[1] * (number % 4)), (pixels.shape[0] * (number % 4), 0)][number % 2]
        more = ((0, more[0]), (0, more[1]), *[(0, 0)] * (pixels.ndim - 2))
        Image.fromarray(np.pad(pixels, more)).save(path)
    for path in other.glob("*.json"):
        document = json.loads(path.read_text())
        for image in document["images"]:
            image["width"], image["height"] = Image.open(other / image["file_name"]).size
        path.write_text(json.dumps(document))
    return str(other)


def with_shapes(spec, root, **fit):
    """The spec on a varied copy of its data, whose images keep their shape."""
    data = spec.data.model_dump(mode="json", exclude_unset=True, exclude={"image_size"})
    return {"data": data | {"root": varied(Path(spec.data.root), root), "fit": fit}}


@pytest.fixture
def specs(crowns, cells, discs, build_spec, tmp_path):
    """With heads that draw nothing at random; one trains alone, on activations."""
    return {
        "classification": changed(build_spec(), training=TRAINING | {"batch_size": 10}),
        "head": changed(build_spec(), freeze=HEAD_FIRST, training=TRAINING | {"batch_size": 10, "epochs": 3}),
        "regression": changed(discs),
        "segmentation": changed(cells, head={"kind": "lite", "dropout": 0.0}),
        "detection": changed(crowns),
        "whole": changed(
            cells, head={"kind": "lite", "dropout": 0.0}, **with_shapes(cells, tmp_path / "whole", crop=48)
        ),
        "shapes": changed(crowns, **with_shapes(crowns, tmp_path / "shapes", shorter=64, longer=160)),
    }


@pytest.fixture
def trained(specs, load, tmp_path, monkeypatch):
    """Each spec trained in one process, and all of them in two; the folders of the results."""
    launches = []
    monkeypatch.setattr(spread, "launch", lambda plan, job: launches.append((plan, job)))
    context = RunContext(tmp_path / "home")
    for name, spec in specs.items():
        snapshot = load(spec, tmp_path / "snapshots" / name)
        for devices in (1, 2):
            work, result = (tmp_path / part / str(devices) / name for part in ("work", "result"))
            work.mkdir(parents=True)
            result.mkdir(parents=True)
            spread.fit_on_devices(FitInputs(on(spec, devices), context, snapshot, None, work, result))
    for plan, _ in launches:
        assert (plan.devices, plan.device, plan.max_restarts) == (2, "cpu", 3)
        assert importlib.util.find_spec(plan.words[-1])
    launch(Launch((SCRIPT,), 2, "cpu", 0), {"jobs": [job for _, job in launches]})
    return {name: [tmp_path / "result" / number / name for number in ("1", "2")] for name in specs}


def test_two_processes_train_as_one(trained):
    require_one_preflight(trained)
    for name, folders in trained.items():
        one, two = (json.loads((folder / "history.json").read_text()) for folder in folders)
        assert (one["devices"], two["devices"]) == (1, 2)
        for row, other in zip(one["epochs"], two["epochs"], strict=True):
            assert other.keys() == row.keys()
            assert other["lr"] == row["lr"]
            for loss in {"train_loss", "val_loss"} & row.keys():
                assert other[loss] == pytest.approx(row[loss], rel=TOLERANCE[name]), (name, loss)
    for name in ("classification", "regression"):
        one, two = (load_file(folder / "weights.safetensors") for folder in trained[name])
        for key, tensor in one.items():
            # As a whole: where a gradient is next to nothing, rounding decides where AdamW moves a weight.
            assert (two[key] - tensor).double().norm() <= 1e-2 * tensor.double().norm(), key


def require_one_preflight(trained):
    for name, folders in trained.items():
        one, two = (json.loads((folder / "preflight.json").read_text()) for folder in folders)
        assert two["figures"]["loss"] == pytest.approx(one["figures"]["loss"], rel=TOLERANCE[name]), name
        assert [check["name"] for check in two["checks"]] == [check["name"] for check in one["checks"]]
        assert all((folder / "training-images.html").exists() for folder in folders)
