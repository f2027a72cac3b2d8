"""The validation loss of each task, held against other libraries over all images at once."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error
from torch.nn import functional

from transferflow.data.snapshot.manifest import read_rows
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.validation import build_validation
from transferflow.stages.train.validation_inputs import ValidationInputs
from transferflow.tasks import build
from transferflow.training.device import Arithmetic
from transferflow.training.ranks import ALONE

WEIGHTS = {"red": 5.0, "green": 0.3}


@pytest.fixture
def measured(load, tmp_path):
    """Validate a spec's model as it starts; return the values, its answers, the loader and the snapshot."""

    def run(spec):
        snapshot = load(spec, tmp_path / "snapshot")
        task, parts = build.build_task(spec), build.build_parts(spec, snapshot.classes, pretrained=True)
        task.apply_units(parts.model, snapshot)
        transform = eval_transform_of(spec, parts.preprocessing)
        images = build_split_images(spec, snapshot, "val", transform, tmp_path / "cache")
        model = parts.model.eval()
        losses, masks = task.build_losses(snapshot), tmp_path / "masks"
        fp32 = Arithmetic("fp32", torch.contiguous_format)
        shown = ValidationInputs(images, model, None, None, fp32, torch.device("cpu"))
        measure = task.build_measure(snapshot, read_rows(snapshot, "val"), "")
        values = build_validation(measure, losses, shown, masks, ALONE)(model)
        return values, task.predict(model, images.inputs(snapshot.classes, tmp_path / "m")), images, model

    return run


def training(**fields):
    return {"batch_size": 5, "workers": 0, "device": "cpu", "precision": "fp32"} | fields


def test_of_classes(build_spec, measured):
    values, table, images, _ = measured(build_spec(training=training(class_weights=WEIGHTS)))
    labels = [row.labels[0] for row in read_rows(images.snapshot, "val")]
    probabilities = np.array(table["probabilities"].to_pylist())
    expected = log_loss(
        labels,
        probabilities,
        labels=["blue", "green", "red"],
        sample_weight=[WEIGHTS.get(label, 1.0) for label in labels],
    )
    assert len(labels) % 5  # the last batch is smaller
    assert values["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert list(values)[:2] == ["val_loss", "accuracy"]


def test_of_a_number(discs, measured):
    values, table, images, _ = measured(discs)
    truth = [row.number for row in read_rows(images.snapshot, "val")]
    trained_on = np.std([row.number for row in read_rows(images.snapshot, "train")])
    expected = mean_squared_error(truth, table["value"].to_pylist()) / trained_on**2
    assert values["val_loss"] == pytest.approx(expected, rel=1e-4)


def test_of_pixels(cells, measured):
    values, _, images, model = measured(cells)
    with torch.no_grad():
        found = [(model(batch.images)["out"], batch.targets) for batch in images.loader.epoch(0)]
    logits, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    pixels = targets != 255
    entropy = functional.cross_entropy(logits.movedim(1, -1)[pixels], targets[pixels]).item()
    share = 1 - cells.head.dice_weight
    assert values["val_cross_entropy"] == pytest.approx(share * entropy, rel=1e-4)
    assert values["val_loss"] == pytest.approx(values["val_cross_entropy"] + values["val_dice"])
    assert "val_auxiliary" not in values  # that classifier works while training


def test_a_detector_has_none(crowns, measured):
    values, *_ = measured(crowns)
    assert not [name for name in values if name.startswith("val_")]
    assert "map" in values
