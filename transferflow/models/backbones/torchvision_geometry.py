"""What differs between torchvision's models: a declaration for each name that a spec may say."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from transferflow.errors import PlanError
from transferflow.spec.sections.backbone import TorchvisionName

Family = Literal["resnet", "efficientnet", "convnext", "vit"]
NAMES: tuple[TorchvisionName, ...] = get_args(TorchvisionName)


@dataclass(frozen=True)
class Geometry:
    """What differs between the models.

    Attributes:
        family: How the model is taken apart.
        head: Prefix of the classifier's keys in the published weights.
        first_conv: Path of the convolution that sees the image.
        num_features: Width of the pooled features.
        channels: Channels of the feature levels, at strides 4, 8, 16 and 32 (ViT: at 16).
        stages: Children of `features` that the levels are taken after.
    """

    family: Family
    head: str
    first_conv: str
    num_features: int
    channels: tuple[int, ...]
    stages: tuple[int, ...] = ()


def geometry_of(name: TorchvisionName) -> Geometry:
    """The declaration of a model."""
    match name:
        case "resnet18":
            return Geometry("resnet", "fc", "conv1", 512, (64, 128, 256, 512))
        case "resnet50":
            return Geometry("resnet", "fc", "conv1", 2048, (256, 512, 1024, 2048))
        case "efficientnet_b0":
            return _efficientnet(1280, (24, 40, 112, 320))
        case "efficientnet_b4":
            return _efficientnet(1792, (32, 56, 160, 448))
        case "convnext_tiny":
            channels = (96, 192, 384, 768)
            return Geometry("convnext", "classifier.2", "features.0.0", 768, channels, (1, 3, 5, 7))
        case "vit_b_16":
            return Geometry("vit", "heads.head", "conv_proj", 768, (768,))
        case _:
            assert_never(name)


def _efficientnet(num_features: int, channels: tuple[int, ...]) -> Geometry:
    return Geometry("efficientnet", "classifier.1", "features.0.0", num_features, channels, (2, 3, 5, 7))


def known_name(name: str) -> TorchvisionName:
    """The name, if it is one of those above.

    Raises:
        PlanError: If torchvision has no such backbone, or it is not declared here.
    """
    for known in NAMES:
        if known == name:
            return known
    close = difflib.get_close_matches(name, NAMES, 3, 0.4)
    raise PlanError(
        "no such torchvision backbone",
        where="backbone.name",
        found=name,
        allowed=", ".join(close or NAMES),
        hint="timm has many more: `transferflow backbones list --source timm`",
    )
