from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from transferflow.errors import WeightsError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.heads import build_head, carry_rows, last_layer, set_prototypes


def head(features=8, classes=3, hidden=(), dropout=0.0, zero=False):
    return build_head(features, classes, dropout=dropout, hidden=hidden, zero=zero)


def test_layers_in_order():
    names = [name for name, _ in head(hidden=(16, 4), dropout=0.5).named_children()]
    assert names == ["hidden0", "relu0", "hidden1", "relu1", "dropout", "classifier"]
    assert last_layer(head(hidden=(16, 4))).in_features == 4


def test_zero_starts_with_equal_logits():
    assert torch.equal(head(zero=True)(torch.randn(5, 8)), torch.zeros(5, 3))


def test_prototypes_are_the_nearest_class_mean():
    images, labels = load_digits(return_X_y=True)
    features = torch.from_numpy(images.astype(np.float32))
    layers = head(64, 10)
    set_prototypes(layers, features, torch.from_numpy(labels))
    logits = layers(features)
    images = images[:, images.std(0) > 0]  # the corners are always empty
    wanted = NearestCentroid().fit(images, labels).predict(images)
    assert (logits.argmax(1).numpy() == wanted).mean() > 0.999
    assert logits.std().item() == pytest.approx(1, abs=1e-3)


def test_prototypes_of_several_labels_and_of_an_empty_class():
    features = torch.randn(50, 8)
    labels = (torch.rand(50, 3) > 0.5).float()
    labels[:, 2] = 0
    layers = head()
    set_prototypes(layers, features, labels)
    assert torch.equal(last_layer(layers).weight[2], torch.zeros(8))
    scores = layers(features)
    assert scores[labels[:, 0] == 1, 0].mean() > scores[labels[:, 0] == 0, 0].mean()


def test_prototypes_see_through_hidden_layers():
    layers = head(hidden=(6,), dropout=0.9)
    set_prototypes(layers, torch.randn(20, 8), torch.arange(20) % 3)
    assert torch.isfinite(last_layer(layers).weight).all()


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_rows_are_carried_over_by_name(hidden):
    old, new = head(classes=3, hidden=hidden), head(classes=4, hidden=hidden)
    fresh = last_layer(new).weight[1].clone()
    kept = carry_rows(new, old.state_dict(), ["cat", "dog", "owl"], ["dog", "emu", "owl", "cat"])
    assert kept == ("dog", "owl", "cat")
    images = torch.randn(6, 8)
    assert torch.allclose(new(images)[:, [3, 0, 2]], old(images))
    assert torch.equal(last_layer(new).weight[1], fresh)


@pytest.mark.parametrize("other", [head(features=9), head(hidden=(8,)), head(classes=2)])
def test_an_earlier_head_of_another_shape_is_refused(other):
    with pytest.raises(WeightsError, match="does not fit"):
        carry_rows(head(), other.state_dict(), ["a", "b", "c"], ["a", "b", "c"])


def test_classifier_declares_its_groups(section, check_groups):
    spec = section(source="torchvision", name="resnet18", weights="none")
    backbone = build_backbone(spec, channels=1, image_size=32)
    model = ImageClassifier(backbone, 7, dropout=0.5, hidden=[16], init="zero")
    check_groups(model)
    assert [group.part for group in model.groups] == ["backbone"] * 5 + ["head"]
    assert model.groups[0].parameters[0] == "backbone.model.conv1.weight"
    assert model.groups[-1].parameters == (
        *("head.hidden0.weight", "head.hidden0.bias"),
        *("head.classifier.weight", "head.classifier.bias"),
    )
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 7)
    assert model.preprocessing == backbone.preprocessing
