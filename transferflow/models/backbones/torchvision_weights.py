"""torchvision's published weights: names, files and what they were trained with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

import torch
import torchvision.models as library
from torchvision.models import WeightsEnum
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_V2_Weights,
    FCOS_ResNet50_FPN_Weights,
    RetinaNet_ResNet50_FPN_V2_Weights,
)
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights, FCN_ResNet50_Weights

from transferflow.errors import WeightsError
from transferflow.models.backbones.torchvision_geometry import NAMES, known_name
from transferflow.models.layers import Preprocessing
from transferflow.models.weights.files import Url, WeightFile
from transferflow.spec.sections.head import DetectorKind, SegmenterKind
from transferflow.spec.sections.published import BODY, PUBLISHED

LICENCE = "BSD-3-Clause"
_HASH = re.compile(r"-([0-9a-f]{8,64})\.")


def detector_weights(kind: DetectorKind) -> WeightsEnum:
    """The weights that torchvision publishes for a detector on ResNet-50."""
    match kind:
        case "faster_rcnn":
            return FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1
        case "retinanet":
            return RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1
        case "fcos":
            return FCOS_ResNet50_FPN_Weights.COCO_V1
        case _:
            assert_never(kind)


def segmenter_weights(kind: SegmenterKind) -> WeightsEnum | None:
    """The weights that torchvision publishes for a segmenter on ResNet-50; `None` for one of ours."""
    match kind:
        case "deeplabv3":
            return DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1
        case "fcn":
            return FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1
        case "lite":
            return None
        case _:
            assert_never(kind)


def dense_weights(name: str) -> tuple[str, ...]:
    """Names of the published weights of whole detectors and segmenters on a backbone."""
    if name != BODY:
        return ()
    return tuple(dict.fromkeys(model.weights for model in PUBLISHED.values()))


def resolve_torchvision(name: str, weights: str) -> WeightsEnum | None:
    """The published weights of that name; `None` for `none`, and for those of whole dense models.

    Raises:
        PlanError: If torchvision has no such backbone, or it is not declared.
        WeightsError: If the model has no such weights.
    """
    known_name(name)
    if weights.lower() == "none" or weights in dense_weights(name):
        return None
    known = library.get_model_weights(name)
    if weights == "DEFAULT":
        return known.DEFAULT
    if weights in known.__members__:
        return known[weights]
    raise WeightsError(
        f"{name} has no such weights",
        where="backbone.weights",
        found=weights,
        allowed=", ".join(dict.fromkeys(("DEFAULT", "none", *known.__members__, *dense_weights(name)))),
    )


def torchvision_file(weights: WeightsEnum) -> WeightFile:
    """The file of published weights, in torch's own download folder (TORCH_HOME)."""
    file_name = weights.url.rsplit("/", 1)[-1]
    hashed = _HASH.search(file_name)
    preprocessing = torchvision_preprocessing(weights)
    return WeightFile(
        source="torchvision",
        name=type(weights).__name__.removesuffix("_Weights").lower(),
        tag=weights.name,
        location=Url(
            weights.url,
            Path(torch.hub.get_dir()) / "checkpoints" / file_name,
            hashed.group(1) if hashed else None,
        ),
        licence=str(weights.meta.get("license", LICENCE)),
        mean=preprocessing.mean,
        std=preprocessing.std,
    )


def torchvision_preprocessing(weights: WeightsEnum) -> Preprocessing:
    """What the weights were trained with, read from their own transforms.

    Weights of detectors and segmenters name no statistics or sizes of their own: ImageNet's then.
    """
    transforms: Any = weights.transforms()
    default = Preprocessing()
    crop = _first(getattr(transforms, "crop_size", None)) or default.image_size[0]
    resize = _first(getattr(transforms, "resize_size", None))
    fraction = min(crop / resize, 1.0) if resize else default.crop_fraction
    filter_name = str(getattr(getattr(transforms, "interpolation", None), "value", "bilinear"))
    return Preprocessing(
        mean=tuple(getattr(transforms, "mean", default.mean)),
        std=tuple(getattr(transforms, "std", default.std)),
        interpolation="bicubic" if filter_name == "bicubic" else "bilinear",
        image_size=(crop, crop),
        crop_fraction=fraction,
    )


def known_torchvision() -> Mapping[str, tuple[str, ...]]:
    """Names of the published weights of each backbone, the default first."""
    found: dict[str, tuple[str, ...]] = {}
    for name in NAMES:
        known = library.get_model_weights(name)
        best = known.DEFAULT.name
        found[name] = (best, *(member for member in known.__members__ if member not in (best, "DEFAULT")))
    return found


def _first(size: object) -> int | None:
    if isinstance(size, int):
        return size
    if isinstance(size, list | tuple) and size and isinstance(size[0], int):
        return size[0]
    return None
