"""Whole detectors and segmenters that torchvision publishes: their names, and when a spec means one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transferflow.spec.sections.backbone import Backbone, CheckpointBackbone, TorchvisionBackbone
from transferflow.spec.sections.head import DetectionHead, Head

BODY = "resnet50"
"""The backbone of each of them."""
PYRAMID_CHANNELS = 256
"""Width of the feature pyramid of the detectors."""


@dataclass(frozen=True)
class PublishedModel:
    """A published model.

    Attributes:
        name: In torchvision; as `backbone.name` it says that a checkpoint holds the whole of it.
        weights: Name of its weights.
    """

    name: str
    weights: str


PUBLISHED: Mapping[str, PublishedModel] = {
    "faster_rcnn": PublishedModel("fasterrcnn_resnet50_fpn_v2", "COCO_V1"),
    "retinanet": PublishedModel("retinanet_resnet50_fpn_v2", "COCO_V1"),
    "fcos": PublishedModel("fcos_resnet50_fpn", "COCO_V1"),
    "deeplabv3": PublishedModel("deeplabv3_resnet50", "COCO_WITH_VOC_LABELS_V1"),
    "fcn": PublishedModel("fcn_resnet50", "COCO_WITH_VOC_LABELS_V1"),
}
"""By `head.kind`."""


def published_model(head: Head, backbone: Backbone) -> PublishedModel | None:
    """The published model that the sections describe, whatever it starts from; `None` where it is another."""
    known = PUBLISHED.get(head.kind)
    if known is None or (isinstance(head, DetectionHead) and head.pyramid_channels != PYRAMID_CHANNELS):
        return None
    match backbone:
        case TorchvisionBackbone(name=name):
            return known if name == BODY else None
        case CheckpointBackbone(library="torchvision", name=name):
            return known if name == known.name else None
        case _:
            return None


def starts_whole(head: Head, backbone: Backbone) -> bool:
    """Whether the model starts from weights of the whole of it, its last layer included."""
    known = published_model(head, backbone)
    if known is None:
        return False
    return isinstance(backbone, CheckpointBackbone) or backbone.weights in ("DEFAULT", known.weights)
