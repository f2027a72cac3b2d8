"""Rates and weight decay, with timm as the judge of layer-wise decay."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Block, LayerGroup
from transferflow.spec.sections.backbone import TimmBackbone, TorchvisionBackbone
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.training.job import OptimizerSettings
from transferflow.training.optimizer import build_optimizer
from transferflow.training.rates import decide_rates

TIMM = (
    "vit_tiny_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "eva02_tiny_patch14_224",
    "convnext_atto",
    "convnextv2_atto",
    "resnet10t",
    "resnet50",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_100",
    "regnety_002",
)


def build(source, name):
    kind = TimmBackbone if source == "timm" else TorchvisionBackbone
    section = kind(source=source, name=name, weights="none")
    backbone = build_backbone(section, channels=3, image_size=None, pretrained=False, device="meta")
    with torch.device("meta"):
        return ImageClassifier(backbone, 10)


def of_parameter(rates):
    return {
        name: (rate.lr, decay)
        for rate in rates
        for names, decay in ((rate.parameters, rate.weight_decay), (rate.no_decay, 0.0))
        for name in names
    }


@pytest.mark.parametrize("name", TIMM)
def test_layer_decay_equals_timm(name):
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=10)
    expected = {}
    names = {id(parameter): n for n, parameter in theirs.named_parameters()}
    listed = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    groups = param_groups_layer_decay(theirs, 0.05, no_weight_decay_list=listed, layer_decay=0.7)
    for group in groups:
        for parameter in group["params"]:
            expected[names[id(parameter)]] = (group["lr_scale"] * 1e-3, group["weight_decay"])
    ours = build("timm", name)
    optimizer = AdamW(lr=1e-3, weight_decay=0.05, layer_decay=0.7)
    found = of_parameter(decide_rates(ours, ours.groups, optimizer, backbone_scale=1.0))
    backbone = {n.removeprefix("backbone.model."): value for n, value in found.items()}
    shared = expected.keys() & backbone.keys()
    assert len(shared) >= len(expected) - 2  # all but the classifier
    assert {n: backbone[n][0] for n in shared} == pytest.approx({n: expected[n][0] for n in shared})
    assert {n: backbone[n][1] for n in shared} == {n: expected[n][1] for n in shared}
    assert {value[0] for n, value in found.items() if n.startswith("head.")} == {1e-3}


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "efficientnet_b0", "efficientnet_b4", "vit_b_16", "convnext_tiny"]
)
def test_every_parameter_of_torchvision_has_one_rate(name):
    model = build("torchvision", name)
    rates = decide_rates(model, model.groups, AdamW(lr=1e-3, layer_decay=0.8), backbone_scale=1.0)
    listed = [n for rate in rates for n in (*rate.parameters, *rate.no_decay)]
    assert sorted(listed) == sorted(n for n, _ in model.named_parameters())
    found = of_parameter(rates)
    by_group = [min(found[n][0] for n in group.parameters) for group in model.groups if group.parameters]
    assert by_group == sorted(by_group)
    for n, parameter in model.named_parameters():
        is_token = n.rpartition(".")[2] in ("class_token", "pos_embedding", "layer_scale")
        assert (found[n][1] == 0.0) == (parameter.ndim == 1 or is_token), n


def test_layer_lr_wins_and_the_backbone_is_scaled(tiny_model):
    optimizer = AdamW(lr=1e-2, layer_lr={"layer*": 1e-4, "layer2": 3e-4})
    rates = decide_rates(tiny_model, tiny_model.groups, optimizer, backbone_scale=0.1)
    assert {rate.group: rate.lr for rate in rates} == pytest.approx(
        {"stem": 1e-3, "layer1": 1e-4, "layer2": 3e-4, "head": 1e-2}
    )
    assert [rate.block for rate in rates] == ["stem", "layer1", "layer2", "head"]


def test_layer_lr_wins_over_layer_decay(tiny_model):
    optimizer = AdamW(lr=1e-2, layer_lr={"layer1": 5e-5}, layer_decay=0.5)
    rates = decide_rates(tiny_model, tiny_model.groups, optimizer, backbone_scale=1.0)
    assert {rate.block: rate.lr for rate in rates} == pytest.approx(
        {"stem": 1e-2 / 16, "layer1": 5e-5, "layer2": 5e-3, "head": 1e-2}
    )


def test_a_group_is_split_where_its_blocks_differ(tiny_model):
    rates = decide_rates(tiny_model, tiny_model.groups, AdamW(lr=1.0, layer_decay=0.5), backbone_scale=1.0)
    assert [(rate.block, rate.lr) for rate in rates] == [
        ("stem", 0.0625),
        ("layer1.0", 0.125),
        ("layer1.1", 0.25),
        ("layer2", 0.5),
        ("head", 1.0),
    ]


def test_a_multiplier_leaves_weight_decay_alone(tiny_model):
    optimizer = Sgd(kind="sgd", lr=0.1, weight_decay=0.01)
    rates = decide_rates(tiny_model, tiny_model.groups, optimizer, backbone_scale=0.1)
    assert {rate.weight_decay for rate in rates} == {0.01}
    assert {n for rate in rates for n in rate.no_decay} == {
        n for n, p in tiny_model.named_parameters() if p.ndim == 1
    }


@pytest.mark.parametrize(
    ("rule", "path", "hint"),
    [
        ("layr1", "layr1", "did you mean `layer1`"),
        ("layer1.0", '"layer1.0"', "block of the group layer1"),
        ("blocks.*", '"blocks.*"', ""),
    ],
)
def test_a_rule_that_matches_nothing_is_refused(tiny_model, rule, path, hint):
    with pytest.raises(PlanError) as caught:
        decide_rates(tiny_model, tiny_model.groups, AdamW(layer_lr={rule: 1e-4}), backbone_scale=1.0)
    text = str(caught.value)
    assert f"optimizer.layer_lr.{path}: no layer group" in text
    assert "stem, layer1, layer2, head" in text
    assert hint in text


def test_two_patterns_that_contradict_each_other_are_refused(tiny_model):
    optimizer = AdamW(layer_lr={"layer*": 1e-4, "*2": 1e-3})
    with pytest.raises(PlanError, match="give the layer group layer2 different rates"):
        decide_rates(tiny_model, tiny_model.groups, optimizer, backbone_scale=1.0)


def test_a_model_that_forgets_a_parameter_is_refused(tiny_model):
    with pytest.raises(PlanError, match="stand in no layer group"):
        decide_rates(tiny_model, tiny_model.groups[1:], AdamW(), backbone_scale=1.0)
    twice = (*tiny_model.groups, LayerGroup("again", "head", (Block("again", ("head.bias",)),), ()))
    with pytest.raises(PlanError, match="in two layer groups"):
        decide_rates(tiny_model, twice, AdamW(), backbone_scale=1.0)


def test_the_optimizer_holds_every_parameter_with_its_rate(tiny_model):
    section = AdamW(lr=1e-2, layer_lr={"stem": 1e-4}, weight_decay=0.3)
    rates = decide_rates(tiny_model, tiny_model.groups, section, backbone_scale=0.5)
    optimizer = build_optimizer(tiny_model, rates, OptimizerSettings("adamw", betas=(0.8, 0.9)))
    held = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(held) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in tiny_model.named_parameters():
        group = held[id(parameter)]
        part = name.split(".")[0]
        assert group["lr"] == {"stem": 1e-4, "head": 1e-2}.get(part, 5e-3)
        assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)
        assert group["betas"] == (0.8, 0.9)
