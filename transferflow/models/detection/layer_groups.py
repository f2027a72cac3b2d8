"""Layer groups of detectors."""

from __future__ import annotations

from torch import nn
from torchvision.models.detection import FasterRCNN

from transferflow.models.dense import build_group
from transferflow.models.layers import LayerGroup


def detector_groups(model: nn.Module, backbone: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
    """Groups from the stem to the head: the backbone's, `fpn`, `rpn` (Faster R-CNN) and `head`.

    Args:
        model: The whole detector.
        backbone: Groups of its backbone, under their names in `model`.
    """
    neck = build_group(model, "fpn", "neck", ("backbone.fpn",))
    if not isinstance(model, FasterRCNN):
        return (*backbone, neck, build_group(model, "head", "head", ("head",)))
    return (
        *backbone,
        neck,
        build_group(model, "rpn", "head", ("rpn.head",)),
        build_group(model, "head", "head", ("roi_heads.box_head", "roi_heads.box_predictor")),
    )
