"""Class activation maps by their definition as judge; every kind of backbone; nothing is left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from transferflow.errors import EvaluationError
from transferflow.evaluation.attribution import compute_attribution, tint_images
from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Preprocessing
from transferflow.spec.sections.backbone import TimmBackbone, TorchvisionBackbone


def classifier(source, name, size=64, channels=3, classes=4):
    kind = {"torchvision": TorchvisionBackbone, "timm": TimmBackbone}[source]
    torch.manual_seed(0)
    section = kind(source=source, name=name, weights="none")
    backbone = build_backbone(section, channels=channels, image_size=size, pretrained=False)
    return ImageClassifier(backbone, classes).eval()


def images(count=2, size=64, channels=3):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("source", "name"), [("torchvision", "resnet18"), ("timm", "test_efficientnet")])
def test_grad_cam_of_a_linear_head_is_the_class_activation_map(source, name):
    model, batch = classifier(source, name, size=160), images(size=160)
    found = compute_attribution(model, batch, [1, 3])
    assert found.method == "Grad-CAM"
    weight = next(p for n, p in model.head.named_parameters() if n.endswith("weight"))
    features = {}

    def keep(_module, _inputs, output):
        if isinstance(output, torch.Tensor) and output.dim() == 4 and output.shape[-1] > 1:
            features["last"] = output

    hooks = [m.register_forward_hook(keep) for m in model.backbone.modules()]
    with torch.no_grad():
        model(batch)
    for hook in hooks:
        hook.remove()
    cam = torch.einsum("bchw,bc->bhw", features["last"], weight[[1, 3]]).clamp_min(0)
    cam = F.interpolate(cam[:, None], batch.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    low = cam.amin((1, 2), keepdim=True)
    cam = (cam - low) / (cam.amax((1, 2), keepdim=True) - low)
    assert found.heat == pytest.approx(cam.detach().numpy(), abs=1e-4)


def test_rollout_of_a_torchvision_vit_equals_the_product_of_its_attentions():
    model, batch = classifier("torchvision", "vit_b_16"), images(1)
    found = compute_attribution(model, batch, [0])
    assert found.method == "attention rollout"
    vit = model.backbone.model
    with torch.no_grad():
        tokens = vit._process_input(batch)
        tokens = torch.cat([vit.class_token, tokens], 1) + vit.encoder.pos_embedding
        flow = torch.eye(tokens.shape[1])
        for layer in vit.encoder.layers:
            normed = layer.ln_1(tokens)
            weights = layer.self_attention(normed, normed, normed, need_weights=True)[1]
            flow = (0.5 * weights[0] + 0.5 * torch.eye(tokens.shape[1])) @ flow
            tokens = layer(tokens)
    heat = flow[0, 1:].reshape(1, 1, 4, 4)
    heat = F.interpolate(heat, (64, 64), mode="bilinear", align_corners=False)[0, 0]
    heat = (heat - heat.min()) / (heat.max() - heat.min())
    assert found.heat[0] == pytest.approx(heat.numpy(), abs=1e-3)


@pytest.mark.parametrize(
    ("source", "name", "size"),
    [
        ("torchvision", "efficientnet_b0", 96),
        ("timm", "test_convnext", 64),
        ("timm", "test_resnet", 96),
        ("timm", "test_vit", 160),
        pytest.param("timm", "swin_tiny_patch4_window7_224", 224, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_backbone_has_a_map(source, name, size):
    model, batch = classifier(source, name, size), images(1, size).expand(4, -1, -1, -1)
    heat = compute_attribution(model, batch, range(4)).heat
    assert heat.shape == (4, size, size)
    assert heat.min() >= 0
    # Untrained, so that nothing may speak for some of the classes.
    strongest = heat.max(axis=(1, 2)).round(6)
    assert set(strongest) <= {0, 1}
    assert 1 in strongest
    assert heat[strongest == 1].std(axis=(1, 2)).min() > 0.01


@pytest.mark.parametrize(("source", "name"), [("torchvision", "resnet18"), ("timm", "test_vit")])
def test_a_frozen_model_is_explained_and_left_as_it_was(source, name):
    model, batch = classifier(source, name, 160), images(2, 160)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    fused = [m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")]
    with torch.no_grad():
        before = model(batch)
        compute_attribution(model, batch, [0, 0])
        assert torch.equal(model(batch), before)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not batch.requires_grad
    assert [m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")] == fused
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_map_follows_the_class():
    model, batch = classifier("torchvision", "resnet18"), images(1)
    first, second = (compute_attribution(model, batch, [number]).heat for number in range(2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_show_the_models_view(channels):
    preprocessing = Preprocessing((0.5,) * channels, (0.25,) * channels)
    batch = torch.zeros(2, channels, 6, 8)
    heat = np.zeros((2, 6, 8))
    heat[1, 2, 3] = 1
    cold, warm = tint_images(batch, heat, preprocessing)
    assert cold.shape == (6, 8, 3)
    assert (cold == 128).all()
    assert (warm != cold).any(axis=2).sum() == 1


def test_a_backbone_without_places_is_an_error():
    class Flat(torch.nn.Module):
        levels, num_features = (), 12

        def forward(self, batch):
            return batch.flatten(1)

    model = classifier("torchvision", "resnet18")
    model.backbone = Flat()
    model.head = torch.nn.Linear(12, 2)
    with pytest.raises(EvaluationError, match="neither feature maps nor attention"):
        compute_attribution(model, torch.randn(1, 3, 2, 2), [0])
