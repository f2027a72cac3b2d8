import copy

import pytest
import timm
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.segmentation.build import build_segmenter
from transferflow.models.segmentation.dilation import apply_output_stride
from transferflow.models.segmentation.heads import (
    FixedBatchNorm2d,
    apply_dropout,
    apply_fixed_pooling_statistics,
    build_deeplab_head,
)
from transferflow.spec.sections.backbone import PackageBackbone, TimmBackbone, TorchvisionBackbone
from transferflow.spec.sections.head import SegmentationHead

RESNET50 = TorchvisionBackbone(source="torchvision", name="resnet50", weights="none")
RESNET18 = TorchvisionBackbone(source="torchvision", name="resnet18", weights="none")
LITE0 = PackageBackbone(source="package", name="tf_efficientnet_lite0")
ATTO = TimmBackbone(source="timm", name="convnext_atto", weights="none")
VIT = TimmBackbone(source="timm", name="vit_tiny_patch16_224", weights="none")


def segmenter(kind, backbone, **arguments):
    given = {"num_classes": 3, "channels": 3, "image_size": 64, "pretrained": False, "seed": 0}
    head = SegmentationHead(kind=kind, **arguments.pop("head", {}))
    return build_segmenter(head, backbone, **(given | arguments))


def by_hand(kind):
    """torchvision's own model, its last layers replaced as its tutorials do it."""
    torch.manual_seed(0)
    build = deeplabv3_resnet50 if kind == "deeplabv3" else fcn_resnet50
    model = build(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    model.classifier[4] = nn.Conv2d(model.classifier[4].in_channels, 3, 1)
    model.aux_classifier[4] = nn.Conv2d(256, 3, 1)
    if kind == "deeplabv3":  # the one difference: statistics that hold at small batches
        model.classifier[0].convs[4][2] = FixedBatchNorm2d(256)
    return model


def train(model, images, targets, steps=2):
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    history = []
    model.train()
    for _ in range(steps):
        logits = model(images)
        loss = sum(nn.functional.cross_entropy(logits[name], targets) for name in ("out", "aux"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deeplabv3", "fcn"])
def test_is_torchvisions_own_model_trained_from_the_same_seed(kind):
    images, targets = torch.randn(2, 3, 32, 32), torch.randint(0, 3, (2, 32, 32))
    ours, theirs = segmenter(kind, RESNET50).model, by_hand(kind)
    assert {n: v.shape for n, v in ours.state_dict().items()} == {
        n: v.shape for n, v in theirs.state_dict().items()
    }
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert train(ours, images, targets) == train(theirs, images, targets)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_is_torchvisions(stride):
    body = build_backbone(RESNET50, channels=3, image_size=64, pretrained=False)
    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, stride == 8, True])
    theirs.fc = nn.Identity()
    theirs.load_state_dict(body.model.state_dict())
    apply_output_stride(body, stride, 3, "resnet50")
    images = torch.randn(1, 3, 64, 64)
    body.eval(), theirs.eval()
    with torch.no_grad():
        last = body.forward_levels(images)[-1]
        assert last.shape[-1] == 64 // stride
        assert body.levels[-1].stride == stride
        torch.testing.assert_close(last.mean((2, 3)), theirs(images))


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "efficientnet_b0", "resnet18d", "seresnet50"]
)
@pytest.mark.parametrize("stride", [8, 16])
def test_dilation_is_timms(name, stride):
    section = TimmBackbone(source="timm", name=name, weights="none")
    body = build_backbone(section, channels=3, image_size=64, pretrained=False)
    theirs = timm.create_model(name, pretrained=False, num_classes=0, output_stride=stride)
    theirs.load_state_dict(body.model.state_dict())
    apply_output_stride(body, stride, 3, name)
    images = torch.randn(1, 3, 64, 64)
    body.eval(), theirs.eval()
    with torch.no_grad():
        wanted = theirs.forward_intermediates(images, indices=[-1], intermediates_only=True)[0]
        torch.testing.assert_close(body.forward_levels(images)[-1], wanted)


@pytest.mark.parametrize(
    "name",
    [
        "convnext_atto",
        "vit_tiny_patch16_224",
        "resnetblur50",
        "dla34",
        "hrnet_w18_small",
        "vgg11",
    ],
)
def test_a_backbone_that_cannot_says_so(name):
    backbone = TimmBackbone(source="timm", name=name, weights="none")
    with pytest.raises(PlanError, match=r"can't give feature maps of stride 8(?s:.)*lite"):
        segmenter("deeplabv3", backbone, device="meta")


@pytest.mark.parametrize("kind", ["deeplabv3", "fcn", "lite"])
@pytest.mark.parametrize("backbone", [LITE0, RESNET18], ids=["lite0", "resnet18"])
def test_any_backbone_trains_and_predicts(kind, backbone):
    built = segmenter(kind, backbone, channels=1, head={"output_stride": 16})
    images = torch.randn(2, 1, 64, 48)
    logits = built.model.train()(images)
    assert {name: tuple(v.shape) for name, v in logits.items()} == {
        "out": (2, 3, 64, 48),
        "aux": (2, 3, 64, 48),
    }
    sum(v.mean() for v in logits.values()).backward()
    with torch.no_grad():
        assert set(built.model.eval()(images)) == {"out"}


@pytest.mark.parametrize("backbone", [ATTO, VIT], ids=["convnext", "vit"])
def test_the_light_head_takes_every_backbone(backbone):
    built = segmenter("lite", backbone)
    with torch.no_grad():
        assert built.model.eval()(torch.randn(1, 3, 64, 64))["out"].shape == (1, 3, 64, 64)


@pytest.mark.parametrize(("kind", "auxiliary"), [("deeplabv3", True), ("deeplabv3", False), ("lite", True)])
def test_groups_own_every_parameter_and_buffer_once(kind, auxiliary):
    built = segmenter(kind, LITE0, head={"auxiliary": auxiliary})
    owned = [name for group in built.groups for name in group.parameters]
    assert sorted(owned) == sorted(name for name, _ in built.model.named_parameters())
    modules = [path for group in built.groups for path in group.modules]
    for name, _ in built.model.named_buffers():
        assert sum(name.startswith(f"{path}.") for path in modules) == 1, name
    names = [group.name for group in built.groups if group.part != "backbone"]
    assert names == (["decoder", "aux", "head"] if auxiliary else ["decoder", "head"])


def test_torchvision_groups_have_the_names_people_know():
    built = segmenter("deeplabv3", RESNET50, device="meta")
    names = [group.name for group in built.groups]
    assert names == ["conv1", "layer1", "layer2", "layer3", "layer4", "decoder", "aux", "head"]


def test_training_and_evaluation_agree_at_batch_size_4():
    """The trap of ASPP: pooled maps of one pixel under batch norm fall apart in evaluation."""
    torch.manual_seed(0)
    head = build_deeplab_head(16, 3, output_stride=16)
    apply_fixed_pooling_statistics(head)
    apply_dropout(head, 0.0)
    features = torch.randn(8, 16, 6, 6) + torch.randn(8, 16, 1, 1)
    targets = (features[:, 0] > 0).long() + (features[:, 1] > 1).long()
    parts = (slice(4), slice(4, 8))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    for step in range(40):
        loss = nn.functional.cross_entropy(head(features[parts[step % 2]]), targets[parts[step % 2]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        trained = [nn.functional.cross_entropy(head(features[p]), targets[p]).item() for p in parts]
        held = nn.functional.cross_entropy(head.eval()(features), targets).item()
    assert sum(trained) / 2 < 0.2
    assert held < 0.3


def test_fixed_statistics_are_the_same_in_training_and_evaluation():
    norm = FixedBatchNorm2d(4)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(9.0)
    features = torch.randn(4, 4, 1, 1)
    before = copy.deepcopy(norm.state_dict())
    trained = norm.train()(features)
    assert torch.equal(trained, norm.eval()(features))
    torch.testing.assert_close(trained, nn.BatchNorm2d(4).eval()((features - 2) / 3), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(("given", "found"), [(None, {0.5}), (0.2, {0.2})])
def test_dropout_is_torchvisions_unless_the_spec_says_otherwise(given, found):
    model = segmenter("deeplabv3", RESNET50, device="meta", head={"dropout": given}).model
    assert {m.p for m in model.classifier.modules() if isinstance(m, nn.Dropout)} == found
