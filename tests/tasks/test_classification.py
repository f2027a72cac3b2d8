import csv
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from transferflow.data.loading.batch import Batch
from transferflow.data.snapshot.manifest import read_rows
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.build import build_task
from transferflow.tasks.classification_truth import class_weights
from transferflow.tasks.rendering.viewable import show_row

SHARES = [[0.45, 0.3, 0.25], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]
"""The first class is found, though its probability is below a half."""


@pytest.fixture
def shown(build_spec, load, tmp_path):
    spec = build_spec()
    snapshot = load(spec, tmp_path / "snapshot")
    ids = [row.id for row in read_rows(snapshot, "test") if row.labels == (snapshot.classes[0],)][:3]
    predictions = pa.table({"id": ids, "probabilities": pa.array(SHARES, pa.list_(pa.float32(), 3))})

    def run(choice):
        found = SplitPredictions(predictions, snapshot, "test", tmp_path)
        show = partial(show_row, channels=3, intensity=spec.data.intensity)
        return build_task(spec).show_cases(found, show, choice=choice, limit=9)

    return run


def test_the_worst_are_mistakes_alone_worst_first(shown):
    assert [case.title for case in shown("worst")] == ["blue, taken for red", "blue, taken for green"]


def test_what_is_right_says_so(shown):
    assert [case.title for case in shown("spread")] == [
        "blue, recognised",
        "blue, taken for green",
        "blue, taken for red",
    ]


def test_balanced_weights_of_exclusive_classes_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights("balanced", [60, 30, 10], "abc").tolist() == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 10, 50, 99])
def test_balanced_weights_of_several_labels_make_both_sides_of_a_class_weigh_the_same(count):
    labels = np.repeat([1, 0], [count, 100 - count])
    without, having = compute_class_weight("balanced", classes=np.arange(2), y=labels)
    (found,) = class_weights("balanced", [count], "a", images=100).tolist()
    assert found == pytest.approx(having / without)
    assert found * count == pytest.approx(100 - count)


def test_a_class_that_all_images_have_or_none_keeps_a_weight():
    assert (class_weights("balanced", [100, 0], "ab", images=100) > 0).all()


def test_weights_by_name_are_1_for_the_others():
    assert class_weights({"b": 3.0}, [5, 5], "ab", images=8).tolist() == [1, 3]


class Same(torch.nn.Module):
    """Gives the same logits for every image."""

    def forward(self, images):
        return torch.tensor([[0.3, -1.2, 2.0]]).expand(len(images), 3)


def test_the_balanced_loss_of_several_labels_equals_scikit_learns(build_spec, load, colour_folder, tmp_path):
    rows = [
        (f"{name}/{number:02}.png", name + ("|red" if name == "blue" and number < 5 else ""))
        for name in ("red", "green", "blue")
        for number in range({"red": 20, "green": 4, "blue": 10}[name])
    ]
    with (colour_folder / "labels.csv").open("w") as file:
        csv.writer(file).writerows([("path", "label", "split"), *((*row, "train") for row in rows)])
        csv.writer(file).writerows((f"{name}/19.png", name, "val") for name in ("green", "blue"))
        csv.writer(file).writerows((f"{name}/18.png", name, "test") for name in ("green", "blue"))
    spec = build_spec(
        task={"kind": "classification", "multilabel": True},
        data={"format": "csv", "root": str(colour_folder), "file": "labels.csv", "image_size": 32},
        training={"class_weights": "balanced"},
    )
    snapshot = load(spec, tmp_path / "snapshot")
    truth = np.array(
        [[name in row.labels for name in snapshot.classes] for row in read_rows(snapshot, "train")]
    )
    batch = Batch(torch.zeros(len(truth), 3, 32, 32), torch.from_numpy(truth).float(), ())
    losses = build_task(spec).build_losses(snapshot)(Same(), batch)
    ratios = [compute_class_weight("balanced", classes=np.arange(2), y=side.astype(int)) for side in truth.T]
    expected = F.binary_cross_entropy_with_logits(
        Same()(batch.images), batch.targets, pos_weight=torch.tensor([one / zero for zero, one in ratios])
    )
    assert losses["loss"].item() == pytest.approx(expected.item())
