"""Targets that a loss can take, and those that it can't."""

import pytest
import torch

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.target_checks import check_targets
from transferflow.errors import DataError
from transferflow.spec.sections.truth import BoxTruth, LabelTruth, MaskTruth, NumberTruth

CLASSES = ("cat", "dog", "owl")
IDS = ("a.png", "b.png")


def check(truth, targets):
    return check_targets(Batch(torch.zeros(2, 3, 10, 20), targets, IDS), truth, CLASSES)


def boxes(*corners, label=0):
    labels = torch.full((len(corners),), label)
    return {"boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4), "labels": labels}


@pytest.mark.parametrize(
    ("truth", "targets", "found"),
    [
        (LabelTruth(), torch.tensor([0, 2]), "2 labels, 2 of 3 classes"),
        (LabelTruth(), torch.tensor([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0]]), "2 images, mixed, 2 of 3 classes"),
        (LabelTruth(several=True), torch.tensor([[1.0, 0, 1], [0, 0, 0]]), "2 labels, 2 of 3 classes"),
        (NumberTruth(), torch.tensor([-1.5, 30.0]), "-1.5 to 30"),
        (MaskTruth(), torch.tensor([[[0, 255]], [[2, 1]]]), "75% of the pixels count, 3 of 3 classes"),
        (MaskTruth(ignore_index=0), torch.tensor([[[0, 0]], [[2, 1]]]), "50% of the pixels count, 2 of 3"),
        (
            BoxTruth(),
            [boxes((0, 0, 20.4, 9), (3, 3, 3, 5)), boxes()],
            "2 boxes in 2 images, 1 of them",
        ),
    ],
)
def test_good_ones(truth, targets, found):
    facts = check(truth, targets)
    assert facts.found.startswith(found)
    assert facts.expected
    assert facts.warning == ""


@pytest.mark.parametrize(
    ("truth", "targets", "words"),
    [
        (LabelTruth(), torch.tensor([0, 3]), "a label is no number of a class, 0 to 2"),
        (LabelTruth(), torch.tensor([0, -1]), "a label is no number of a class, 0 to 2"),
        (LabelTruth(several=True), torch.tensor([[1.0, 0, 1], [0, 0, 2]]), "no share from 0 to 1"),
        (LabelTruth(several=True), torch.tensor([[1.0, 0, 1], [0, 0, torch.nan]]), "no share from 0 to 1"),
        (NumberTruth(), torch.tensor([1.0, torch.inf]), "not finite"),
        (MaskTruth(), torch.tensor([[[0, 255]], [[2, 100]]]), "values that are no class, 0 to 2"),
        (MaskTruth(ignore_index=7), torch.tensor([[[0, 7]], [[2, 255]]]), "values that are no class, 0 to 2"),
        (BoxTruth(), [boxes(), boxes((0, 0, 22, 9))], "does not lie in the image of 20 x 10 pixels"),
        (BoxTruth(), [boxes(), boxes((0, 5, 3, 4))], "does not lie in the image"),
        (BoxTruth(), [boxes(), boxes((0, 0, torch.nan, 4))], "does not lie in the image"),
        (BoxTruth(), [boxes(), boxes((0, 0, 4, 4), label=3)], "label is no number of a class, 0 to 2"),
    ],
)
def test_bad_ones_are_named(truth, targets, words):
    with pytest.raises(DataError, match=words) as caught:
        check(truth, targets)
    (problem,) = caught.value.problems
    assert problem.found == "images b.png"
    assert "data show" in problem.hint


def test_nothing_to_learn_from_is_worth_a_look():
    assert "no image of the batch has a box" in check(BoxTruth(), [boxes(), boxes()]).warning
    assert "no pixel of the batch counts" in check(MaskTruth(), torch.full((2, 1, 2), 255)).warning
