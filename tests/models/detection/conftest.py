import pytest
import torch

from transferflow.models.detection.build import build_detector
from transferflow.spec.sections.backbone import PackageBackbone, TimmBackbone, TorchvisionBackbone
from transferflow.spec.sections.head import DetectionHead

RESNET50 = TorchvisionBackbone(source="torchvision", name="resnet50", weights="none")
LITE0 = PackageBackbone(source="package", name="tf_efficientnet_lite0")
ATTO = TimmBackbone(source="timm", name="convnext_atto", weights="none")
VIT = TimmBackbone(source="timm", name="vit_tiny_patch16_224", weights="none")


@pytest.fixture
def detector():
    def build(kind, backbone=ATTO, **arguments):
        given = {"num_classes": 3, "channels": 3, "image_size": 64, "pretrained": False, "seed": 0}
        head = DetectionHead(kind=kind, pyramid_channels=arguments.pop("pyramid_channels", 64))
        return build_detector(head, backbone, **(given | arguments))

    return build


@pytest.fixture
def batch():
    """Two images, the second without objects."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    targets = [
        {
            "boxes": torch.tensor([[4.0, 6.0, 40.0, 50.0], [30.0, 30.0, 60.0, 62.0]]),
            "labels": torch.tensor([0, 2]),
        },
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    return images, targets
