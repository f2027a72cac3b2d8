"""What the plan says a spec left open, against what torchvision and timm publish."""

from __future__ import annotations

import pytest
from torchvision.models import ResNet18_Weights

from transferflow.models.backbones.build import preprocessing_of
from transferflow.models.spec_weights import weights_of
from transferflow.spec.sections.metrics import SINGLE_LABEL
from transferflow.stages.plan.defaults import resolved_values
from transferflow.stages.split_images import eval_transform_of


@pytest.mark.parametrize(
    ("backbone", "tag"),
    [
        ({"source": "torchvision", "name": "resnet18"}, ResNet18_Weights.DEFAULT.name),
        ({"source": "torchvision", "name": "resnet18", "weights": "DEFAULT"}, ResNet18_Weights.DEFAULT.name),
        ({"source": "timm", "name": "vit_base_patch16_dinov3"}, "lvd1689m"),
    ],
)
def test_default_weights_are_named(build_spec, backbone, tag):
    assert _resolved(build_spec(backbone=backbone))["backbone.weights"] == tag


def test_the_size_of_the_weights_is_told_as_a_spec_says_it(build_spec, colour_folder):
    spec = build_spec(data={"format": "image_folder", "root": str(colour_folder), "image_size": None})
    assert _resolved(spec)["data.image_size"] == 160  # test_resnet's own


def test_weights_that_the_spec_names_are_not_open(build_spec):
    backbone = {"source": "torchvision", "name": "resnet18", "weights": "none"}
    assert "backbone.weights" not in _resolved(build_spec(backbone=backbone))


def test_the_name_and_the_main_metric_stand_in_for_what_is_left_out(build_spec):
    spec = build_spec()
    values = _resolved(spec)
    assert values["registration.model"] == spec.name
    assert values["registration.gate.metric"] == "accuracy"


def test_all_metrics_of_the_task_are_measured_unless_the_spec_says_which(build_spec):
    assert _resolved(build_spec())["evaluation.metrics"] == list(SINGLE_LABEL.names)
    some = {"metrics": ["accuracy"]}
    assert "evaluation.metrics" not in _resolved(build_spec(evaluation=some))


def test_what_the_spec_says_is_not_open(build_spec):
    spec = build_spec(optimizer={"backbone_lr_scale": 0.3}, registration={"model": "other"})
    values = _resolved(spec)
    assert spec.data.image_size is not None
    assert values.keys().isdisjoint({"data.image_size", "optimizer.backbone_lr_scale", "registration.model"})
    assert values["optimizer.kind"] == "adamw"


def _resolved(spec):
    transform = eval_transform_of(spec, preprocessing_of(spec.backbone, spec.data.image_size))
    return resolved_values(spec, transform, weights_of(spec))
