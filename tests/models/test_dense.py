import pytest
import torch

from transferflow.errors import PlanError
from transferflow.models.backbones.build import build_backbone
from transferflow.models.dense import apply_levels_only
from transferflow.spec.sections.backbone import PackageBackbone, TimmBackbone

LITE0 = PackageBackbone(source="package", name="tf_efficientnet_lite0")


def test_what_no_feature_map_needs_is_taken_off():
    body = build_backbone(LITE0, channels=1, image_size=64, pretrained=False)
    images = torch.randn(1, 1, 64, 64)
    body.eval()
    with torch.no_grad():
        before = body.forward_levels(images)
        apply_levels_only(body, 1)
        after = body.forward_levels(images)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert body.groups[-1].name == "blocks.6"
    owned = {name for group in body.groups for name in group.parameters}
    assert owned == {name for name, _ in body.named_parameters()}
    body.train()
    sum(level.sum() for level in body.forward_levels(images.repeat(2, 1, 1, 1))).backward()
    assert all(parameter.grad is not None for parameter in body.parameters())


def test_the_mode_and_the_statistics_stay():
    body = build_backbone(LITE0, channels=3, image_size=64, pretrained=False).train()
    before = {name: value.clone() for name, value in body.named_buffers()}
    apply_levels_only(body, 3)
    assert body.training
    assert all(torch.equal(before[name], value) for name, value in body.named_buffers())


def test_a_backbone_without_feature_maps_is_refused():
    section = TimmBackbone(source="timm", name="vit_tiny_patch16_224", weights="none")
    body = build_backbone(section, channels=3, image_size=64, pretrained=False, device="meta")
    body.levels = ()
    with pytest.raises(PlanError, match="no feature maps"):
        apply_levels_only(body, 3)
