import copy
import math

import pytest
import torch
from torch import nn
from torchvision.models import detection as tv
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.fcos import FCOSClassificationHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from transferflow.models.detection.inputs import to_torchvision_targets
from transferflow.spec.sections.backbone import PackageBackbone, TimmBackbone, TorchvisionBackbone

RESNET50 = TorchvisionBackbone(source="torchvision", name="resnet50", weights="none")
LITE0 = PackageBackbone(source="package", name="tf_efficientnet_lite0")
VIT = TimmBackbone(source="timm", name="vit_tiny_patch16_224", weights="none")
KINDS = ("faster_rcnn", "retinanet", "fcos")


def by_hand(kind, classes):
    """torchvision's own model, its head replaced as its tutorials do it, its transform without effect."""
    torch.manual_seed(0)
    if kind == "faster_rcnn":
        model = tv.fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91)
        model.roi_heads.box_predictor = FastRCNNPredictor(1024, classes + 1)
    elif kind == "retinanet":
        model = tv.retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91)
        logits = nn.Conv2d(256, 9 * classes, 3, padding=1)
        nn.init.normal_(logits.weight, std=0.01)
        nn.init.constant_(logits.bias, -math.log(0.99 / 0.01))
        model.head.classification_head.cls_logits = logits
        model.head.classification_head.num_classes = classes
    else:
        model = tv.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
        towers = model.head.classification_head.conv
        model.head.classification_head = FCOSClassificationHead(256, 1, classes)
        model.head.classification_head.conv = towers
    model.transform = GeneralizedRCNNTransform(64, 64, [0.0] * 3, [1.0] * 3)
    return model


def train(model, images, targets, steps=2):
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    history = []
    model.train()
    if hasattr(model, "roi_heads"):
        model.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    for _ in range(steps):
        losses = model(list(images), copy.deepcopy(targets))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    return history


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet"])
def test_is_torchvisions_own_model_trained_from_the_same_seed(kind, detector, batch):
    images, targets = batch
    ours = detector(kind, RESNET50, pyramid_channels=256).model
    theirs = by_hand(kind, 3)
    for (name, mine), (other, value) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, value), name
    shifted = to_torchvision_targets(targets, kind == "faster_rcnn")
    assert train(ours, images, shifted) == train(theirs, images, shifted)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.slow
def test_fcos_is_torchvisions_own_model(detector, batch):
    images, targets = batch
    ours = detector("fcos", RESNET50, pyramid_channels=256).model
    theirs = by_hand("fcos", 3)
    theirs.load_state_dict(ours.state_dict())
    assert train(ours, images, targets) == train(theirs, images, targets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", [LITE0, VIT], ids=["lite0", "vit"])
def test_any_backbone_trains_and_predicts(kind, backbone, detector, batch):
    images, targets = batch
    built = detector(kind, backbone)
    losses = built.model(list(images), to_torchvision_targets(targets, kind == "faster_rcnn"))
    total = sum(losses.values())
    assert len(losses) >= 2
    assert torch.isfinite(total)
    total.backward()
    built.model.eval()
    with torch.no_grad():
        found = built.model(list(images))
    assert [set(f) for f in found] == [{"boxes", "scores", "labels"}] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_groups_own_every_parameter_and_buffer_once(kind, detector):
    built = detector(kind, LITE0)
    owned = [name for group in built.groups for name in group.parameters]
    assert sorted(owned) == sorted(name for name, _ in built.model.named_parameters())
    modules = [path for group in built.groups for path in group.modules]
    for name, _ in built.model.named_buffers():
        assert sum(name.startswith(f"{path}.") for path in modules) == 1, name
    names = [group.name for group in built.groups]
    assert names[-3:] == ["fpn", "rpn", "head"] if kind == "faster_rcnn" else names[-2:] == ["fpn", "head"]
    assert [group.part for group in built.groups][-1] == "head"


def test_torchvision_groups_have_the_names_people_know(detector):
    built = detector("faster_rcnn", RESNET50, pyramid_channels=256, device="meta")
    names = [group.name for group in built.groups]
    assert names == ["conv1", "layer1", "layer2", "layer3", "layer4", "fpn", "rpn", "head"]
    assert built.groups[0].modules[:2] == ("backbone.body.conv1", "backbone.body.bn1")
    assert [block.name for block in built.groups[1].blocks] == ["layer1.0", "layer1.1", "layer1.2"]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels, detector):
    built = detector("faster_rcnn", RESNET50, pyramid_channels=256, channels=channels, device="meta")
    assert built.model.backbone.body.conv1.in_channels == channels
    assert len(built.preprocessing.mean) == channels


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_stay_exact_in_bf16(kind, detector, batch):
    images, targets = batch
    model = detector(kind).model
    seen = []
    watched = [m for n, m in model.named_modules() if n in ("rpn.head", "roi_heads.box_predictor", "head")]
    for module in watched:
        module.register_forward_hook(lambda m, i, outputs: seen.append(outputs))
    with torch.autocast("cpu", torch.bfloat16):
        model(list(images), to_torchvision_targets(targets, kind == "faster_rcnn"))
    flat = [t for out in seen for t in (out.values() if isinstance(out, dict) else out)]
    tensors = [t for item in flat for t in (item if isinstance(item, list) else [item])]
    assert tensors
    assert {t.dtype for t in tensors} == {torch.float32}


def test_a_bundle_can_be_rebuilt_from_its_state(detector, batch):
    images, _ = batch
    first = detector("faster_rcnn", seed=1).model.eval()
    second = detector("faster_rcnn", seed=2).model.eval()
    second.load_state_dict(first.state_dict(), strict=True)
    with torch.no_grad():
        for one, other in zip(first(list(images)), second(list(images)), strict=True):
            assert torch.equal(one["boxes"], other["boxes"])


def test_the_seed_decides_the_new_layers(detector):
    same = [detector("fcos", seed=3).model.state_dict() for _ in range(2)]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    before = torch.random.get_rng_state()
    detector("fcos", seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
