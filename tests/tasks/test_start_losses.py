"""What losses are before any step, held against other libraries and against real models."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torchvision.ops import sigmoid_focal_loss

from transferflow.data.loading.batch import Batch
from transferflow.spec import ExperimentSpec
from transferflow.tasks.build import build_parts, build_task
from transferflow.tasks.detection_start import one_stage_starts
from transferflow.tasks.segmentation_start import MOST_SCORES, thinned

DATA = {
    "classification": {"format": "csv", "root": ".", "file": "a.csv"},
    "detection": {"format": "coco", "root": ".", "annotations": "a.json"},
    "segmentation": {"format": "coco", "root": ".", "annotations": "a.json"},
}
CLASSES = ("cat", "dog", "owl")
COUNTS = {"cat": 60, "dog": 30, "owl": 10}
SNAPSHOT = SimpleNamespace(classes=CLASSES, counts={"train": 100}, class_counts={"train": COUNTS})


def spec_of(kind, **sections):
    document = {
        "name": "tiny",
        "task": {"kind": kind},
        "data": DATA[kind] | {"image_size": 64},
        "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
        "freeze": {"policy": "none"},
    }
    return ExperimentSpec.model_validate(document | sections)


def starts_of(spec, batch):
    return build_task(spec).build_losses(SNAPSHOT).at_start(batch)


def labelled(targets):
    return Batch(torch.randn(len(targets), 3, 64, 64), targets, tuple(map(str, range(len(targets)))))


def found_in(spec, batch):
    """Losses of the real model as it starts."""
    parts = build_parts(spec, CLASSES, pretrained=True)
    torch.manual_seed(0)
    with torch.no_grad():
        losses = build_task(spec).build_losses(SNAPSHOT)(parts.model.train(), batch)
    return {name: float(value) for name, value in losses.items()}


TARGETS = torch.tensor([0, 0, 1, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_softmax_that_knows_nothing(smoothing):
    spec = spec_of("classification", training={"label_smoothing": smoothing})
    start = starts_of(spec, labelled(TARGETS))["loss"]
    assert start.value == pytest.approx(log_loss(TARGETS.numpy(), np.full((4, 3), 1 / 3), labels=[0, 1, 2]))
    assert start.why.startswith("ln 3,")
    assert 0 < start.low < start.value < start.high


def test_weights_of_classes_are_in_it():
    training = {"class_weights": {"cat": 1.0, "dog": 2.0, "owl": 4.0}, "label_smoothing": 0.2}
    start = starts_of(spec_of("classification", training=training), labelled(TARGETS))["loss"]
    # By hand: the target's share weighs as its class, the smoothed shares as all classes do.
    of_targets, mean = 1 + 1 + 2 + 4, (1 + 2 + 4) / 3
    assert start.value == pytest.approx(math.log(3) * (0.8 + 0.2 * 4 * mean / of_targets))
    assert "weights of the classes" in start.why


def test_of_several_labels_each_is_a_question():
    hot = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    plain = spec_of("classification", task={"kind": "classification", "multilabel": True})
    start = starts_of(plain, labelled(hot))["loss"]
    even = [log_loss(column, np.full((2, 2), 0.5), labels=[0, 1]) for column in hot.numpy().T]
    assert start.value == pytest.approx(np.mean(even))
    training = plain.training.model_copy(update={"class_weights": "balanced"})
    weighted = plain.model_copy(update={"training": training})
    # Positives weigh (100 - count) / count: 40 / 60 and 90 / 10 for the two that are there.
    expected = math.log(2) * (40 / 60 + 9 + 4) / 6
    assert starts_of(weighted, labelled(hot))["loss"].value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("head", [{"init": "prototypes"}, {"warm_start": "champion"}])
def test_a_head_that_knows_something_may_be_better(head):
    start = starts_of(spec_of("classification", head=head), labelled(TARGETS))["loss"]
    assert start.low == 0
    assert start.value == pytest.approx(math.log(3))


MASKS = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(0))
BOXES = [
    {"boxes": torch.tensor([[4.0, 4, 40, 44], [20, 8, 60, 60]]), "labels": torch.tensor([0, 2])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


def test_segmentation_by_hand():
    spec = spec_of("segmentation", head={"kind": "lite", "dice_weight": 0.25, "auxiliary_weight": 0.4})
    starts = starts_of(spec, labelled(MASKS))
    assert starts["cross_entropy"].value == pytest.approx(0.75 * math.log(3))
    # Soft Dice of a third everywhere: 2 * n/3 / (N/3 + n) for a class with n of N pixels.
    share = np.bincount(MASKS.ravel().numpy()) / MASKS.numel()
    dice = 1 - np.mean(2 * share / 3 / (1 / 3 + share))
    assert starts["dice"].value == pytest.approx(0.25 * dice)
    assert starts["auxiliary"].value == pytest.approx(0.4 * (0.75 * math.log(3) + 0.25 * dice))


def test_large_masks_are_thinned():
    masks = torch.zeros(4, 1024, 1024, dtype=torch.int64)
    assert thinned(MASKS, 3) is MASKS
    assert thinned(masks, 21).numel() * 21 <= 1.05 * MOST_SCORES


@pytest.mark.parametrize(
    ("kind", "head", "targets"),
    [
        ("classification", {}, TARGETS),
        ("classification", {"init": "zero"}, TARGETS),
        ("segmentation", {"kind": "lite"}, MASKS),
        ("detection", {"kind": "faster_rcnn", "pyramid_channels": 64}, BOXES),
        ("detection", {"kind": "retinanet", "pyramid_channels": 64}, BOXES),
        ("detection", {"kind": "fcos", "pyramid_channels": 64}, BOXES),
    ],
)
def test_real_models_start_there(kind, head, targets):
    spec, batch = spec_of(kind, head=head), labelled(targets)
    starts, found = starts_of(spec, batch), found_in(spec, batch)
    assert starts.keys() <= found.keys()
    assert starts
    for name, start in starts.items():
        assert start.low <= found[name] <= start.high, (name, found[name], start)


def test_the_focal_loss_of_rare_objects_is_that_of_torchvision():
    logit = torch.full((1, 1), -math.log(99))
    expected = float(sigmoid_focal_loss(logit, torch.ones(1, 1)))
    start = one_stage_starts([3, 1], classes=2, pixels=64 * 64)["classification"]
    assert start.value == pytest.approx(expected)
    background = float(sigmoid_focal_loss(logit, torch.zeros(1, 1)))
    many = one_stage_starts([1], classes=90, pixels=800 * 1333)["classification"]
    assert many.high - 2 * expected - 0.5 == pytest.approx(2 * background * 90 * 800 * 1333 / 5.3, rel=1e-3)
    # Anchors of RetinaNet: 9 at each place of maps of stride 8 to 128.
    anchors = 9 * sum(math.ceil(800 / s) * math.ceil(1333 / s) for s in (8, 16, 32, 64, 128))
    assert pytest.approx(anchors, rel=0.02) == 800 * 1333 / 5.3


def test_images_without_objects_have_little_loss():
    assert one_stage_starts([0, 0], classes=2, pixels=4096)["classification"].low == 0
